r"""Where a solution states its answer, and the key under which equal answers meet in a vote."""

import re

from data_gen.answers.final_sentence import read_final_sentence
from data_gen.answers.notation import MAX_ANSWER_LENGTH, read_number
from data_gen.answers.vote_key import answer_key

# --- where a solution states its answer

_NEXT_PROBLEM = re.compile(
    r"<\|(?:im_start\|>|start_header_id\|>)?user\b|\[INST\]|^[ "
    r"\t]*(?:\**)(?:Q|Question|Problem|Human|User|Instruction)(?:[ \t]*\d+)?\**:",
    re.MULTILINE,
)
_END_TOKENS = re.compile(r"(?:\s*(?:</s>|<eos>|<\|[^|<>\n]{1,40}\|>))+\s*$")
_BOXED_PLACEHOLDER = re.compile(r"\\boxed\s*\{\s*(?:your answer|answer|\.\.\.|…)\s*\}", re.IGNORECASE)
_SENTENCE = re.compile(
    r"(?:the|it|she|he|they|there|we|this|that|so|\w+ "
    r"(?:received|has|had|paid|needs|gets?|got|made|spends?|spent))\b",
    re.IGNORECASE,
)
_PLACEHOLDERS = {"answer", "your answer", "...", "…"}
_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_FRAME = r"[^\w\n]{0,40}"
_HEADING = re.compile(rf"{_FRAME}(?:the )?(?:final )?answer{_FRAME}", re.IGNORECASE)
_MARKED_LINE = re.compile(
    rf"(?:{_FRAME}(?:A|(?:the )?(?:final |correct )?(?:answer|ans)\.?)\**:)(.*)", re.IGNORECASE
)
_MARKED_SENTENCE = re.compile(r"\*\*\s*(?:final )?answer\s*:?\s*\*\*:?(.*)", re.IGNORECASE)
_HASHES = re.compile(r"(?<!#)####(?!#)(.*)")
_ANSWER_IS = re.compile(r"\b(?:answer|correct (?:choice|option)) is\b:?", re.IGNORECASE)
_NOT_STATED = re.compile(
    r"\b(?:incorrect|wrong|not sure|whether|suppose|supposing|if|assum\w+|guess|not that)\b[^.]*$",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"(?<!\bapprox)(?<!\bNo)(?<!\bno)(?<!\b[apAP]\.[mM])(?<!\b[ap])\.(?=\s|$)|\bI hope\b|!+$"
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(\{)?")
_BEFORE_BOX = re.compile(
    r"(?:\\[dt]?frac\s*\{|\}\s*\{|\\sqrt\s*(?:\[\d\])?\{|[\^_]\{?|(?<!\n)[-+/]|(?<!\*)\*|\\cdot|\\times|\}\s*:)\s*$"
)
_AFTER_BOX = re.compile(
    r"\s*(?:\$\s*(?:thousand|million|hundred|dozen)\b|\\(?:pi|sqrt|cdot|times)(?![a-z])|\\frac\s*\{?\d|[a-z](?![a-z])\s*[-+*/=]|:\s*\\boxed|\*(?!\*)|[/_])"
)
_BETWEEN_BOXES = re.compile(
    r"(?:[\s$,;&]|\\(?:[,;:!() "
    r"\[\]\\]|q?quad(?![a-z])|(?:text|mbox|textrm|mathrm)\s*\{(?:,|;|and|or|\s)*\})|\b(?:and|or)\b|[a-zA-Z]\s*=)*"
)
_IS_JOINT = re.compile(r",|;|&|\b(?:and|or)\b|quad")
_BULLET = re.compile(r"^(?:[->•]\s+)+")
_BARE = re.compile(r"[^\s$]+")
_BRACE = re.compile(r"(?<!\\)[{}]")
_DISPLAY = {"$$", "\\[", "\\]", "```"}
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}")


def find_answer(text: str, is_truncated: bool = False) -> str | None:
    r"""The last answer that `text` states; None if none.

    That is `\boxed{x}` (several that follow each other joined by commas or "and" are one answer, `x, y`),
    else `<answer>x</answer>`, else the last of a line `#### x`, `A: x` or `Answer: x`, a heading `# Answer`
    with the next line, and `answer is x`, else what the last sentence concludes (see final_sentence.py).
    Thoughts (`<think>...</think>`, closed or not) and what follows an answer from the next `Question:` on are
    left out. In truncated text an open box, the last line and the last sentence are no answers: the rest of
    them may be missing.
    """
    if text[-40:].rstrip().endswith(">"):
        text = _END_TOKENS.sub("", text)
    if "think>" in text:
        text = text.rpartition("</think>")[2].partition("<think>")[0]
    answer, start = None, 0
    for next_problem in _NEXT_PROBLEM.finditer(text) if _may_ask(text) else ():
        answer = _find_marked(text[start : next_problem.start()], is_truncated=False)
        if answer:
            return _of_sentence(answer)
        start = next_problem.start()
    answer = _find_marked(text[start:], is_truncated)
    return (
        read_final_sentence(text)
        if answer is None and not is_truncated and text.strip()
        else _of_sentence(answer or "") or None
    )


def _may_ask(text: str) -> bool:
    """Whether _NEXT_PROBLEM can match at all: half of the time of reading an answer, were it looked for in
    every text.
    """
    return (
        "Q" in text
        or "Problem" in text
        or "Human" in text
        or "User" in text
        or "Instruction" in text
        or "|user" in text
        or "[INST]" in text
    )


def _of_sentence(stated: str) -> str:
    """What a whole sentence after a marker concludes (`Answer: The total is 42.`), where it concludes one
    thing; else as it stands.
    """
    if (
        " " not in stated
        or not _SENTENCE.match(stated)
        or re.search(r"[\\=]", stated)
        or read_number(stated[:MAX_ANSWER_LENGTH]) is not None
    ):
        return stated
    return read_final_sentence(f"So {stated}") or stated


def _find_marked(text: str, is_truncated: bool) -> str | None:
    """The answer that a box, a tag or a line marks; "" where one is marked and not there: a box that is empty
    or never closed.
    """
    if "\\boxed" in text or "\\fbox" in text:
        boxed = find_boxed(text)
        if boxed is not None or ("\\boxed" in text and not _BOXED_PLACEHOLDER.search(text)):
            return (boxed or "").strip()
    tags = _ANSWER_TAG.findall(text) if "</answer>" in text else []
    if tags and tags[-1].strip():
        return str(tags[-1]).strip()
    return _find_stated(text[: text.rfind("\n") + 1] if is_truncated else text)


def find_boxed(text: str) -> str | None:
    r"""What the last outermost `\boxed{...}` or `\fbox{...}` holds, braces balanced; None if there is none or
    it is not closed.

    Boxes before it with nothing but commas, "and" or "or" between them belong to it: `\boxed{1} and
    \boxed{2}` is `1, 2`.
    """
    groups = [group for group in _joined_boxes(text) or [] if group]
    return _one_answer(groups[-1]) if groups else None


def boxed_answers(text: str) -> list[str]:
    """What the boxes of a reference solution hold, in order: of those that belong together one answer, and
    none that was there before.

    Empty where there is no box, or one that is never closed.
    """
    answers = [_one_answer(group).strip() for group in _joined_boxes(text) or () if group]
    return list({answer_key(answer): answer for answer in reversed(answers) if answer}.values())[::-1]


def _joined_boxes(text: str) -> list[list[str]] | None:
    """The contents of the outermost boxes, those that belong together in one list; None where a box is never
    closed.
    """
    groups: list[list[str]] = []
    position = 0
    for match in _BOX.finditer(text):
        if match.start() < position:
            continue  # inside the box before it
        between = text[position : match.start()] if groups and match.start() - position < 100 else "."
        if not (_BETWEEN_BOXES.fullmatch(between) and _IS_JOINT.search(between)):
            groups.append([])
        if match[1] is None:  # \boxed 5
            bare = _BARE.match(text, match.end())
            if bare is None:
                groups.append([])
            else:
                groups[-1].append(bare[0])
            position = bare.end() if bare else match.end()
            continue
        end = _closing_brace(text, match.end())
        if end is None:
            return None
        if _BEFORE_BOX.search(text[max(0, match.start() - 40) : match.start()]) or _AFTER_BOX.match(
            text, end + 1
        ):
            groups.append([""])  # a part of a formula: nobody puts it together
        elif text[match.end() : end].strip().casefold() not in _PLACEHOLDERS:  # as the prompt asks for it
            groups[-1].append(text[match.end() : end])
        position = end + 1
    return groups


def _one_answer(boxes: list[str]) -> str:
    """`a, b`; one value in two forms counts once."""
    if len(boxes) == 1:
        return boxes[0]
    return ", ".join({answer_key(content): content for content in boxes}.values())


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None


def _find_stated(text: str) -> str | None:
    """The answer in the last line that states one; where that line ends with the colon or is a heading, it is
    the next line with text.
    """
    end, below = len(text), ""
    while end >= 0:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end].strip()
        stated = _stated_in(line, is_last=not below)
        if stated is not None:
            return _without_frame(stated) or _without_frame(below) or None
        if line and line not in _DISPLAY:
            below = line
        end = start - 1
    return None


def _stated_in(line: str, is_last: bool) -> str | None:
    hashes = _HASHES.search(line) if "####" in line else None
    if hashes is not None and "answer" not in hashes[1].lower():
        return hashes[1] if _holds_an_answer(hashes[1], is_last) else None
    lowered = line.lower()
    if "ans" not in lowered and "correct" not in lowered and "a:" not in lowered.replace("*", ""):
        return None
    sentences = _ANSWER_IS.split(line) if " is" in lowered else ()
    if len(sentences) > 1:  # Final Answer: The final answer is $5$. I hope it is correct.
        if _NOT_STATED.search(sentences[-2]):
            return None
        return _SENTENCE_END.split(sentences[-1].strip(), maxsplit=1)[0]
    marked = _MARKED_LINE.match(line) or _MARKED_SENTENCE.search(line)
    if marked is None and _HEADING.fullmatch(line) and not is_last:
        return ""
    return marked[1] if marked else None


def _holds_an_answer(stated: str, is_last: bool) -> bool:
    """Whether what follows `####` is an answer and no heading: a number or a formula; words only where the
    text ends with them.
    """
    stated = stated.strip().strip("*").strip()
    if read_number(stated[:MAX_ANSWER_LENGTH]) is not None or not _WORD.search(stated):
        return bool(stated)
    return is_last and ":" not in stated and (stated[0].isdigit() or not re.search(r"\d", stated))


def _without_frame(answer: str) -> str:
    answer = _BULLET.sub("", answer.strip().strip("*").strip())
    return answer if answer in _DISPLAY else answer.rstrip(".")
