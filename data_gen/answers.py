r"""Where a solution states its answer, and the key under which equal answers meet in a vote."""

import re
from collections.abc import Iterator
from functools import lru_cache

from data_gen.answer_notation import MAX_ANSWER_LENGTH, read_answer

# --- where a solution states its answer

_MARKED_LINE = re.compile(r"(?:[ \t]*+####|[ \t#*]*+(?:A|(?:Final )?Answer)\**:)(.*)", re.IGNORECASE)
_ANSWER_IS = re.compile(r"\banswer is\b:?", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?=\s|$)|\bI hope\b")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(\{)?")
_BARE = re.compile(r"[^\s$]+")
_BRACE = re.compile(r"(?<!\\)[{}]")


def find_answer(text: str, is_truncated: bool = False) -> str | None:
    r"""The last answer that `text` states: `\boxed{x}`, else a line `#### x`, `A: x` or `Answer: x`, else `answer is x`; None if none.

    Thoughts (`<think>...</think>`, closed or not) are left out. In truncated text an open box and the last line are no answers: the rest
    of them may be missing.
    """
    if "think>" in text:
        text = text.rpartition("</think>")[2].partition("<think>")[0]
    if "\\boxed" in text or "\\fbox" in text:
        boxed = find_boxed(text)
        if boxed is not None:
            return boxed.strip() or None
        if "\\boxed" in text:  # a box that is never closed
            return None
    return _find_stated(text[: text.rfind("\n") + 1] if is_truncated else text)


def find_boxed(text: str) -> str | None:
    r"""What the last outermost `\boxed{...}` or `\fbox{...}` holds, braces balanced; None if there is none or it is not closed."""
    content, position = None, 0
    for match in _BOX.finditer(text):
        if match.start() < position:
            continue  # inside the box before it
        if match[1] is None:  # \boxed 5
            bare = _BARE.match(text, match.end())
            content, position = (bare[0], bare.end()) if bare else (None, match.end())
            continue
        end = _closing_brace(text, match.end())
        if end is None:
            return None
        content, position = text[match.end() : end], end
    return content


def _closing_brace(text: str, start: int) -> int | None:
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None


def _find_stated(text: str) -> str | None:
    """The answer in the last line that states one; where that line ends with the colon, it is the next line with text."""
    end, below = len(text), ""
    while end >= 0:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end]
        stated = _stated_in(line)
        if stated is not None:
            return _without_frame(stated) or _without_frame(below) or None
        if line.strip():
            below = line
        end = start - 1
    return None


def _stated_in(line: str) -> str | None:
    marked = _MARKED_LINE.match(line)
    sentences = _ANSWER_IS.split(line) if "answer is" in line.lower() else ()
    if len(sentences) > 1:  # Final Answer: The final answer is $5$. I hope it is correct.
        return _SENTENCE_END.split(sentences[-1], maxsplit=1)[0]
    return marked[1] if marked else None


def _without_frame(answer: str) -> str:
    return answer.strip().strip("*").strip().rstrip(".")


# --- votes

_CHOICE = re.compile(r"\(([A-Z])\)")
_WORDS = re.compile(r"[^\W\d_]{3,}|[^\W\d_]+(?: [^\W\d_]+)+")
_LOOSE_BLANK = re.compile(r"(?<!\d) | (?!\d)")  # between two digits a blank separates values


@lru_cache(maxsize=8192)  # votes ask for the same few answers again and again
def answer_key(answer: str) -> str:
    """The key under which votes for an answer are counted: equal keys are equal answers, and most equal answers have equal keys."""
    if len(answer) > MAX_ANSWER_LENGTH:
        return answer
    read = read_answer(answer)
    if read.number is not None:
        return str(read.number.value)
    choice = _CHOICE.fullmatch(read.plain)
    if choice:
        return choice[1]
    return read.plain.casefold() if is_words(read.plain) else _LOOSE_BLANK.sub("", read.plain)


def is_words(written: str) -> bool:
    """Whether an answer without layout is prose: words alone, the first of at least three letters where it is the only one."""
    return _WORDS.fullmatch(written) is not None


# --- what a reference solution boxes

_JOINS_BOXES = re.compile(
    r"(?:[\s$,;&~]|and|or|\\(?:text|mathrm|textrm|mbox)\s*\{\s*,?\s*(?:and|or)\s*\}|\\(?:q?quad\b|enspace\b|[()\[\],;:!\\ ]))*"
)


def boxed_answers(text: str) -> list[str]:
    r"""What the boxes of `text` hold, in order: boxes joined by commas, "and", "or" or \quad alone are one answer `a, b`, and what is boxed
    again is not told again. No item: no box. A box that is never closed ends the list.
    """
    groups: list[list[str]] = []
    end_before = 0
    for start, end, content in _boxes(text):
        if groups and _JOINS_BOXES.fullmatch(text, end_before, start):
            groups[-1].append(content)
        else:
            groups.append([content])
        end_before = end
    joined: dict[str, str] = {}  # the first way of writing an answer by its key
    for group in groups:
        answer = ", ".join(dict.fromkeys(group))
        joined.setdefault(answer_key(answer), answer)
    return list(joined.values())


def _boxes(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, content) of each outermost box that is closed and not empty."""
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue  # inside the box before it
        if match[1] is None:  # \boxed 5
            bare = _BARE.match(text, match.end())
            content, end = (bare[0], bare.end()) if bare else ("", match.end())
        else:
            brace = _closing_brace(text, match.end())
            if brace is None:
                return
            content, end = text[match.end() : brace], brace + 1
        if content.strip(" \n\t.,"):
            yield match.start(), end, content.strip()
