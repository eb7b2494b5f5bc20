import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from data_gen.settings.errors import ConfigError, InputError
from data_gen.settings.fields import describe
from data_gen.settings.parse import dump_config, load_yaml, parse_config, run_command


class Precision(StrEnum):
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@dataclass(frozen=True)
class OptimizerConfig:
    learning_rate: float = 1e-3  # peak, after warm-up
    betas: tuple[float, float] = (0.9, 0.98)

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate: got {self.learning_rate}, expected more than 0")


@dataclass(frozen=True)
class LoraConfig:
    rank: int
    alpha: float = 16.0


@dataclass(frozen=True)
class TrainConfig:
    problems: Path
    n_updates: Annotated[int, Ge(1)] = 100  # optimizer updates
    aggregation: Literal["min", "last"] = "last"
    precision: Precision = Precision.FLOAT32
    is_resumed: bool = False
    stop: str | None = "\n"
    n_candidates: tuple[int, ...] = (4, 16)
    weights: dict[str, float] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    optimizer: OptimizerConfig = field(
        default=OptimizerConfig(learning_rate=5e-4), metadata={"help": "how weights move"}
    )
    lora: LoraConfig | None = None
    """Low-rank adapters."""


def write(folder: Path, text: str) -> str:
    path = folder / "run.yaml"
    path.write_text(text)
    return str(path)


def refusal(*argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(TrainConfig, ["--problems=p", *argv])
    return str(caught.value)


def test_later_sources_win(tmp_path: Path) -> None:
    path = write(tmp_path, "problems: from_file\nn_updates: 5\noptimizer:\n  learning_rate: 1e-5\n")
    config = parse_config(TrainConfig, ["--n_updates", "7", "--config", path])
    assert config == TrainConfig(Path("from_file"), n_updates=7, optimizer=OptimizerConfig(1e-5))


def test_second_config_file_wins_over_the_first(tmp_path: Path) -> None:
    first = write(tmp_path, "problems: p\nn_updates: 5\naggregation: min")
    second = tmp_path / "second.yaml"
    second.write_text("n_updates: 6")
    assert parse_config(TrainConfig, [f"--config={first}", f"--config={second}"]) == TrainConfig(
        Path("p"), n_updates=6, aggregation="min"
    )


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("n_updates", "12", 12),
        ("aggregation", "min", "min"),
        ("precision", "bfloat16", Precision.BFLOAT16),
        ("is_resumed", "true", True),
        ("stop", "null", None),
        ("stop", "3", "3"),
        ("stop", "a: b", "a: b"),
        ("n_candidates", "1,64", (1, 64)),
        ("n_candidates", "[2, 8]", (2, 8)),
        ("n_candidates", "2", (2,)),
        ("n_candidates", "", ()),
        ("n_candidates", "4 16  64", (4, 16, 64)),
        ("n_candidates", "4, 16", (4, 16)),
        ("names", "a b", ("a b",)),
        ("names", "a b,c", ("a b", "c")),
        ("weights", "{prm: 1, orm: 0.5}", {"prm": 1.0, "orm": 0.5}),
        ("optimizer", None, OptimizerConfig(5e-4)),
    ],
)
def test_command_line_text_becomes_the_type_of_the_field(
    option: str, text: str | None, value: object
) -> None:
    argv = [] if text is None else [f"--{option}", text]
    assert getattr(parse_config(TrainConfig, ["--problems=p", *argv]), option) == value


def test_a_list_may_be_given_in_several_words_and_several_times(tmp_path: Path) -> None:
    path = write(tmp_path, "problems: p\nn_candidates: [1, 2]")
    config = parse_config(
        TrainConfig,
        [
            "--config",
            path,
            "--n_candidates",
            "4",
            "16,32",
            "--names",
            "a",
            "b c",
            "--n_candidates=[64]",
            "--names=d",
        ],
    )
    assert config.n_candidates == (4, 16, 32, 64)  # the file's are replaced
    assert config.names == ("a", "b c", "d")
    assert parse_config(TrainConfig, ["--problems=p", "--n_updates", "4", "--n_updates", "5"]).n_updates == 5
    assert refusal("--n_updates", "4", "5") == "unexpected argument '5' (command line); expected --key value"
    assert refusal("--n_candidates", "4", "x").startswith(
        'n_candidates: got [4, "x"], expected list of int (command line)'
    )


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "when its aliases are written out"),
        ("n_candidates: &a [*a]", "when its aliases are written out"),
        ("stop: &a\n  b: *a", "when its aliases are written out"),
        ("stop: " + "[" * 5000, "nested too deep"),
        ("stop: " + "{a: " * 40 + "1" + "}" * 40, "more than 30 levels"),
        ("stop:\n  " + "- " * 5000, "nested too deep"),
        ("stop: \0", "not usable as YAML text: unacceptable character"),
        ('stop: "a\\0b"', "stop: got .* holds a character that no file and no model knows"),
        ('stop: "\\ud800"', "stop: got .* holds a character that no file and no model knows"),
        ("n_updates: " + "9" * 5000, "FILE:1: not valid YAML: Exceeds the limit"),
        ("n_updates: 9223372036854775808", "n_updates: got 9223372036854775808, which is beyond 64 bits"),
        ("n_candidates: [1, -99999999999999999999]", "n_candidates: got .* which is beyond 64 bits"),
        ("optimizer: {learning_rate: .nan}", "optimizer.learning_rate: got NaN, which is no finite number"),
        (
            "optimizer: {learning_rate: 1e999}",
            "optimizer.learning_rate: got Infinity, which is no finite number",
        ),
        ("stop: ? [a]\n  : b", "FILE:1: not valid YAML"),
        ("? [a]\n: b", "unknown key"),
    ],
    ids=lambda value: value[:20],
)
def test_hostile_yaml_is_refused_in_one_short_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message.replace("FILE", re.escape(path))) as caught:
        load_yaml(TrainConfig, Path(path))
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_override_in_a_nested_config_keeps_the_other_defaults_of_that_field() -> None:
    config = parse_config(TrainConfig, ["--problems", "p", "--optimizer.betas", "0.5,0.9"])
    assert config.optimizer == OptimizerConfig(learning_rate=5e-4, betas=(0.5, 0.9))


def test_field_of_an_absent_nested_config_creates_it() -> None:
    assert parse_config(TrainConfig, ["--problems=p", "--lora.rank=8"]).lora == LoraConfig(rank=8)


def test_nested_config_of_the_file_can_be_taken_back(tmp_path: Path) -> None:
    path = write(tmp_path, "problems: p\nlora:\n  rank: 8\n")
    assert load_yaml(TrainConfig, Path(path)).lora == LoraConfig(rank=8)
    assert parse_config(TrainConfig, ["--config", path, "--lora", "null"]).lora is None


@pytest.mark.parametrize("text", ["1e-5", "1.0e-05", "0.00001", ".00001"])
def test_every_spelling_of_a_float_is_a_float(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"problems: p\noptimizer: {{learning_rate: {text}}}")
    assert load_yaml(TrainConfig, Path(path)).optimizer.learning_rate == 1e-5


@pytest.mark.parametrize("text", ["on", "010", "1:30", "2024-01-01", "yes"])
def test_text_that_yaml_1_1_would_turn_into_something_else_stays_text(tmp_path: Path, text: str) -> None:
    assert load_yaml(TrainConfig, Path(write(tmp_path, f"problems: p\nstop: {text}"))).stop == text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("n_updates: 1.5", "n_updates: got 1.5, expected int (FILE:2): Input should be a valid integer"),
        ("n_updates: '3'", 'n_updates: got "3", expected int (FILE:2)'),
        ("n_updates: true", "n_updates: got true, expected int (FILE:2)"),
        (
            "n_updates: 0",
            "n_updates: got 0, expected int (FILE:2): Input should be greater than or equal to 1",
        ),
        ("aggregation: mean", 'aggregation: got "mean", expected one of min, last (FILE:2)'),
        ("precision: float16", 'precision: got "float16", expected one of float32, bfloat16 (FILE:2)'),
        ("is_resumed: yes", 'is_resumed: got "yes", expected true or false (FILE:2)'),
        ("stop: 3", "stop: got 3, expected str or null (FILE:2)"),
        (
            "n_candidates: [1, x]",
            'n_candidates: got [1, "x"], expected list of int (FILE:2): item 1: Input should be a valid '
            "integer",
        ),
        ("optimizer: {betas: [0.9]}", "optimizer.betas: got [0.9], expected list of float, float (FILE:2)"),
        ("optimizer: 3", "optimizer: got '3', expected keys and values (FILE:2)"),
        ("optimizer: {learning_rate: -1}", "optimizer: learning_rate: got -1.0, expected more than 0"),
        ("n_update: 3", "unknown key n_update (FILE:2); did you mean n_updates?"),
        (
            "optimizer: {lerning_rate: 3}",
            "unknown key optimizer.lerning_rate (FILE:2); did you mean optimizer.learning_rate?",
        ),
        ("zzz: 3", "unknown key zzz (FILE:2); expected one of problems, n_updates, "),
        ("problems: q", "problems: set twice (FILE:2)"),
        (
            "lora: {alpha: 1}",
            "no value for lora.rank; expected --lora.rank on the command line or a line in the YAML file",
        ),
        ("stop: [1", "FILE:2: not valid YAML: expected ',' or ']'"),
        ("stop: !!python/name:os.system", "FILE:2: not valid YAML: could not determine a constructor"),
    ],
)
def test_bad_yaml_is_refused_with_name_got_wanted_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, f"problems: p\n{line}")
    with pytest.raises(ConfigError) as caught:
        load_yaml(TrainConfig, Path(path))
    assert str(caught.value).startswith(message.replace("FILE", path))


def test_bad_command_line_is_refused_with_name_got_and_wanted() -> None:
    assert refusal("--n_updates", "many").startswith('n_updates: got "many", expected int (command line)')
    assert refusal("--n_candidates", "4,x").startswith(
        'n_candidates: got [4, "x"], expected list of int (command line)'
    )
    assert refusal("--n-updates", "3") == "unknown key n-updates (command line); did you mean n_updates?"
    assert refusal("n_updates=3") == "unexpected argument 'n_updates=3' (command line); expected --key value"
    assert refusal("--is_resumed").startswith(
        "--is_resumed (command line) has no value; expected --is_resumed value, for a switch --is_resumed "
        "true"
    )
    assert refusal("--lora", "{rank: 1, rnk: 2}").startswith(
        'lora: got {"rank": 1, "rnk": 2}, expected its fields one by one'
    )
    assert (
        refusal("--config", "no/such.yaml") == "no/such.yaml: no such file, expected a YAML file of settings"
    )
    assert refusal("--optimizer.learning_rate.x", "1").startswith(
        "unknown key optimizer.learning_rate.x (command line)"
    )


def test_missing_fields_are_all_named() -> None:
    with pytest.raises(ConfigError, match=r"^no value for problems, lora\.rank; expected --problems"):
        parse_config(TrainConfig, ["--lora.alpha", "1"])


@pytest.mark.parametrize("text", ["3", "- problems: p"])
def test_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="expected keys and values"):
        load_yaml(TrainConfig, Path(write(tmp_path, text)))


def test_key_without_value_is_null(tmp_path: Path) -> None:
    assert load_yaml(TrainConfig, Path(write(tmp_path, "problems: p\nstop:\n"))).stop is None


def test_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert load_yaml(OptimizerConfig, Path(write(tmp_path, "# defaults are fine\n"))) == OptimizerConfig()


def test_config_classes_whose_keys_could_not_be_checked_are_refused() -> None:
    @dataclass(frozen=True)
    class ListConfig:
        parts: tuple[OptimizerConfig, ...] = ()

    with pytest.raises(TypeError, match=r"ListConfig\.parts: a config class stands alone"):
        parse_config(ListConfig, [])


def test_dumped_config_loads_back(tmp_path: Path) -> None:
    config = TrainConfig(
        Path("p"), stop="1e5", weights={"prm": 1.0}, precision=Precision.BFLOAT16, lora=LoraConfig(rank=8)
    )
    dumped = dump_config(config)
    assert dumped["problems"] == "p"
    assert dumped["n_candidates"] == [4, 16]
    assert dumped["lora"] == {"rank": 8, "alpha": 16.0}
    assert load_yaml(TrainConfig, Path(write(tmp_path, json.dumps(dumped)))) == config


def test_help_shows_types_defaults_and_comments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_config(TrainConfig, ["--n_updates", "3", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for expected in (
        "--problems path (required)\n",
        "--n_updates int = 100\n        optimizer updates\n",
        '--aggregation one of min, last = "last"\n',
        '--stop str or null = "\\n"\n',
        "--n_candidates list of int = [4,16]\n",
        "--optimizer.learning_rate float = 0.0005\n        peak, after warm-up\n",
        "--lora null = null\n        Low-rank adapters. Setting one of the next replaces null:\n",
        "--lora.rank int (required)\n",
    ):
        assert expected in shown


def test_help_begins_with_what_must_be_given_also_where_the_rest_is_inherited() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Shared:
        temperature: float = 1.0

    @dataclass(frozen=True)
    class Command(Shared):
        n: int = 4
        output: Path = field(kw_only=True)

    shown = describe(Command)
    assert shown.index("--output path (required)") < shown.index("--temperature") < shown.index("--n int")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("rows.jsonl:3: no field problem"), 2, "label: error: rows.jsonl:3: no field problem\n"),
        (
            KeyboardInterrupt(),
            130,
            "label: interrupted; what is finished is kept: the same command goes on from there\n",
        ),
        (
            OSError(28, "No space left on device", "x"),
            1,
            "label: error: the disk is full ([Errno 28] No space left on device: 'x'); what is ",
        ),
        (
            OSError(30, "Read-only file system", "runs/x"),
            2,
            "label: error: runs/x: cannot be written or read there (Read-only file system); ",
        ),
        (
            OSError(2, "No such file or directory", "/proc/x"),
            2,
            "label: error: /proc/x: cannot be written or read there (No such file or directory); ",
        ),
        (
            OSError(20, "Not a directory", "notes.txt/x"),
            2,
            "label: error: notes.txt/x: cannot be written or read there (Not a directory); ",
        ),
    ],
)
def test_command_ends_with_one_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run_command(main, "label")
    assert caught.value.code == code
    shown = capsys.readouterr().err
    assert shown.startswith(line)
    assert shown.count("\n") == 1


def test_command_does_not_hide_a_fault() -> None:
    def main() -> None:
        Path("no/such/file").read_text()

    with pytest.raises(FileNotFoundError):
        run_command(main, "label")


def test_config_loads_without_torch() -> None:
    code = "import sys, data_gen.settings.parse; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@dataclass(frozen=True)
class StopConfig:
    stop: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("words", "stop"),
    [
        ("Q:", ("Q:",)),  # to YAML a key without a value
        ("###", ("###",)),  # a comment
        ("\n\n", ("\n\n",)),
        (" Human", (" Human",)),
        ("a,b", ("a", "b")),
        ('["\\n\\nQ:", "a,b"]', ("\n\nQ:", "a,b")),
        ("[]", ()),
    ],
)
def test_texts_of_a_list_are_taken_as_they_are_given(words: str, stop: tuple[str, ...]):
    assert parse_config(StopConfig, ["--stop", words]).stop == stop
