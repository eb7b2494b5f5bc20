"""Problems as rows of TRL's GRPO: the prompt as the policy is asked everywhere in this project, and the
columns that rewards read.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from data_gen.models.prompt_layout import PromptLayout
from data_gen.records.chats import QUESTION
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError


def prompt_rows(problems: Iterable[Problem], layout: PromptLayout, tokenizer: Any) -> list[dict[str, Any]]:
    """A row for each problem: `prompt` (messages where the tokenizer has a chat template, else a text),
    `question`, `gold_answer`, `problem_id`, `other_answers`.

    The trainer tokenizes prompts itself and would read `<|im_end|>` in a question as the end of a turn, which
    nothing else here does. Raises InputError for a question that spells a special token.
    """
    special = [token for token in tokenizer.get_added_vocab() if token.strip()]
    rows = []
    for problem in problems:
        spelled = next((token for token in special if token in problem.question), None)
        if spelled is not None:
            raise InputError(
                f"problem {problem.problem_id}: its question spells {spelled!r}, a special token of the "
                "policy, which TRL's trainer would take for one; expected a question without it"
            )
        rows.append(
            {
                "prompt": _prompt(problem.question, layout, is_chat=tokenizer.chat_template is not None),
                "question": problem.question,
                "gold_answer": problem.gold_answer,
                "problem_id": problem.problem_id,
                "other_answers": list(problem.other_answers),
            }
        )
    return rows


def check_prompts(rows: Sequence[dict[str, Any]], layout: PromptLayout, tokenizer: Any) -> None:
    """Raises InputError where the trainer's ids of the first prompt are not those of `sample`."""
    prompt, wanted = rows[0]["prompt"], list(layout.encode(tokenizer, rows[0]["question"]))
    if isinstance(prompt, str):
        found = tokenizer(prompt)["input_ids"]
    else:
        found = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
    if list(found) != wanted:
        raise InputError(
            f"prompt of {rows[0]['problem_id']}: {tokenizer.decode(found)!r} in training, "
            f"{tokenizer.decode(wanted)!r} in use; expected the same ids"
        )


def _prompt(question: str, layout: PromptLayout, is_chat: bool) -> Any:
    text = layout.template.replace(QUESTION, question)
    if not is_chat:
        return text + "\n"
    system = [] if layout.system_prompt is None else [{"role": "system", "content": layout.system_prompt}]
    return [*system, {"role": "user", "content": text}]
