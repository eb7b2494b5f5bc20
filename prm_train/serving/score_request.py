"""What a client asks of `/v1/score`, of scoring sessions and of `/verify` (NeMo-Gym's)."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from data_gen.policies.servers.http_requests import BadRequestError, parse_object, validated
from data_gen.records.steps import split_steps
from prm_train.serving.chats import MAX_MESSAGES, Asked, MessageBody, asked_chat, asked_question

Body = TypeVar("Body", bound=BaseModel)
MAX_STEPS = 4096


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class QuestionBody(_Strict):
    """A question, or the chat that led to the solution."""

    model: str | None = None
    question: str | None = None
    messages: Annotated[list[MessageBody], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None

    @property
    def asked(self) -> Asked:
        if (self.question is None) == (self.messages is None):
            raise BadRequestError("question, messages: expected one of them")
        return asked_chat(self.messages) if self.messages is not None else asked_question(self.question or "")


class ScoreBody(QuestionBody):
    """`solution` is cut into steps at the server's separator."""

    steps: Annotated[list[str], Field(min_length=1, max_length=MAX_STEPS)] | None = None
    solution: str | None = None

    def cut(self, separator: str) -> tuple[str, ...]:
        """Raises BadRequestError where there is not one of them."""
        if (self.steps is None) == (self.solution is None):
            raise BadRequestError("steps, solution: expected one of them")
        return tuple(self.steps) if self.steps is not None else cut_solution(self.solution or "", separator)


class NewStep(_Strict):
    """A step behind the node `parent`; 0 is the question."""

    parent: Annotated[int, Field(ge=0)] = 0
    step: str


class ExtendBody(_Strict):
    """`score` asks for the scores of the new nodes at once."""

    steps: Annotated[list[NewStep], Field(min_length=1, max_length=MAX_STEPS)]
    score: bool = False


class NodesBody(_Strict):
    nodes: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MAX_STEPS)]


class OutputItem(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    type: str
    role: str | None = None
    content: list[dict[str, Any]] | None = None


class ModelResponse(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    output: list[OutputItem]

    @property
    def text(self) -> str:
        """What the assistant said, not its reasoning nor its calls. Raises BadRequestError if nothing."""
        parts = [
            part.get("text")
            for item in self.output
            if item.type == "message" and item.role in (None, "assistant")
            for part in item.content or ()
            if part.get("type") == "output_text"
        ]
        text = "".join(part for part in parts if isinstance(part, str))
        if not text.strip():
            raise BadRequestError("response.output: no text of the assistant, expected an output_text")
        return text


class VerifyInput(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: Any


class CreateParams(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")
    input: str | list[VerifyInput]
    instructions: str | None = None


class VerifyBody(BaseModel):
    """NeMo-Gym's BaseVerifyRequest; what an environment adds to it is ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")
    responses_create_params: CreateParams
    response: ModelResponse

    @property
    def asked(self) -> Asked:
        params = self.responses_create_params
        if isinstance(params.input, str):
            turns: list[dict[str, Any]] = [{"role": "user", "content": params.input}]
        else:
            turns = [{"role": each.role, "content": each.content} for each in params.input]
        if params.instructions is not None:
            turns.insert(0, {"role": "system", "content": params.instructions})
        return asked_chat([validated(MessageBody, turn) for turn in turns])


def parse(kind: type[Body], raw: bytes) -> Body:
    """Raises BadRequestError, naming the field."""
    fields = parse_object(raw)
    return validated(kind, {name: value for name, value in fields.items() if value is not None})


def cut_solution(text: str, separator: str) -> tuple[str, ...]:
    steps = split_steps(text, separator)
    if not 0 < len(steps) <= MAX_STEPS:
        raise BadRequestError(f"solution: got {len(steps)} steps, expected 1 to {MAX_STEPS}")
    return steps
