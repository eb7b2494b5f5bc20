"""What a checkpoint is asked about when it is published or served: paths of training rows, and how a reader
encodes them.
"""

from dataclasses import dataclass

from data_gen.records.chats import Message
from prm_train.encoding.paths import ScorerEncoding

Labels = tuple[bool | None, ...]  # of the scores of a path, None where there is none

# How a reader with transformers alone gets from a question and steps to ids: parts of each kind's `reading`.
QUESTION_READING = (
    "head: the question (and earlier attempts) by the chat template up to the assistant's turn; in layout "
    "plain BOS, where the tokenizer "
    "begins every text with it, then each turn and a newline"
)
PIECES_READING = (
    "a step that holds step_separator counts as the several steps between; every piece, in layout plain "
    "every turn too, is tokenized by "
    "itself, without adding BOS or EOS and without special tokens that its text may spell, and the ids are "
    "joined"
)


@dataclass(frozen=True)
class ScoredPath:
    """What stands before a solution, the question or a chat with earlier attempts, and the solution's steps
    without separators.
    """

    messages: tuple[Message, ...]
    steps: tuple[str, ...]

    @property
    def question(self) -> str:
        return next(message.content for message in self.messages if message.role == "user")


@dataclass(frozen=True)
class EncodedPath:
    """Ids, where in them something is read (`positions`; a language model of others has none), and how many
    ids are the head.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    n_head: int = 0


def question_path(question: str, steps: tuple[str, ...]) -> ScoredPath:
    """The steps behind the question alone."""
    return ScoredPath((Message("user", question),), steps)


def encode_steps(path: ScoredPath, encoding: ScorerEncoding) -> EncodedPath:
    """As training encodes it; positions are the ends of the steps."""
    # `encode_head` may add to the question what `encode_chat` does not: a verifier's head holds its first
    # question
    ids = list(
        encoding.encode_head(path.question)
        if len(path.messages) == 1
        else encoding.encode_chat(path.messages)
    )
    n_head, positions = len(ids), []
    for step in path.steps:
        ids += encoding.encode_step(step)
        positions.append(len(ids) - 1)
    return EncodedPath(tuple(ids), tuple(positions), n_head)
