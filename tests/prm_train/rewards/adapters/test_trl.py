import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from data_gen.models.tokenizer import load_tokenizer
from data_gen.settings.errors import InputError
from prm_train.rewards import OutcomeReward, StepCredit
from prm_train.rewards.adapters.trl import StepCreditTrainer
from prm_train.rewards.completion_scores import CompletionScores
from prm_train.rewards.group_credit import credit_of_group
from tests.tiny_models import write_tiny_model
from tests.two_processes import train_in_two
from tests.written_scores import WrittenScores

QUESTIONS = ["Start with 3: plus 4.", "Start with 5: times 2."]
GOLD = ["7", "0"]
TEXTS = [
    "3 plus 4=7\nAnswer: 7",
    "3 plus 4=9\nAnswer: 9",
    "5 times 2=0\nAnswer: 0",
    "5 times 2=0\nno idea\n!\n",
]
SCORES = {"3 plus 4=7": 0.9, "Answer: 7": 0.6, "3 plus 4=9": 0.2, "Answer: 9": 0.4, "5 times 2=0": 0.5}


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return write_tiny_model("llama", tmp_path_factory.mktemp("policy"))


def write(prompts, trainer):
    """The four completions, in this order, instead of generation."""
    tokenizer = trainer.processing_class
    ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]
    first = trainer.accelerator.process_index * len(prompts)
    own = [ids[(first + n) % len(ids)] for n in range(len(prompts))]
    prompt_ids = [
        tokenizer.apply_chat_template(each, add_generation_prompt=True)["input_ids"] for each in prompts
    ]
    return {"prompt_ids": prompt_ids, "completion_ids": own, "logprobs": [[0.0] * len(each) for each in own]}


def make_trainer(folder, trainer_class=StepCreditTrainer, rules=None, **settings):
    tokenizer = load_tokenizer(str(folder))
    rows = [
        {"prompt": [{"role": "user", "content": question}], "gold_answer": gold}
        for question, gold in zip(QUESTIONS, GOLD, strict=True)
    ]
    defaults = {
        **{
            "per_device_train_batch_size": 4,
            "num_generations": 2,
            "max_completion_length": 48,
            "report_to": [],
        },
        **{
            "use_cpu": True,
            "scale_rewards": "none",
            "disable_tqdm": True,
            "logging_steps": 1,
            "save_strategy": "no",
        },
    }
    credit = {} if rules is None else {"step_credit": StepCredit(WrittenScores(SCORES), **rules)}
    return trainer_class(
        str(folder),
        OutcomeReward("arithmetic", eos_ids=[tokenizer.eos_token_id]),
        args=GRPOConfig(str(folder / "trained"), **defaults | settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        rollout_func=write,
        **credit,
    )


def scored_batch(trainer):
    """What reaches the loss for the four completions, by TRL's own code up to there."""
    rows = [row for row in trainer.train_dataset for _ in range(2)]
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer._generate_and_score_completions(rows)


HARD_MIN = {"form": "min", "temperature": 0.0}


def test_each_token_has_the_advantage_of_its_step(policy):
    trainer = make_trainer(policy, rules=HARD_MIN | {"form": "advantage"})
    batch = scored_batch(trainer)
    tokenizer = trainer.processing_class
    first = len(tokenizer("3 plus 4=7\n")["input_ids"])
    last = len(tokenizer(TEXTS[0])["input_ids"]) + 1  # and EOS
    advantages = batch["advantages"]
    assert advantages.shape == batch["completion_ids"].shape
    # Outcomes 1 and 0; progress .9 - .2 and .6 - .9 of the right one, .2 - .9 and .4 - .2 of the wrong one
    assert advantages[0, :first].tolist() == pytest.approx([1 + 0.7] * first)
    assert advantages[0, first:last].tolist() == pytest.approx([1 - 0.3] * (last - first))
    assert advantages[1, :first].tolist() == pytest.approx([-1 - 0.7] * first)
    assert advantages[1, first:last].tolist() == pytest.approx([-1 + 0.2] * (last - first))
    assert advantages[0, last:].tolist() == [0] * (advantages.shape[1] - last)
    # The fourth has neither a verdict nor scores, so the third is alone in its group: .5 and .5 - .5
    assert advantages[2:].count_nonzero() == 0
    logged = trainer._metrics["train"]
    assert logged["step_credit/excluded/PathTooLong"] == [0.25]
    assert logged["step_credit/n_steps"] == [(2 + 2 + 2 + 3) / 4]
    assert logged["outcome/unknown_share"] == [0.25]
    assert logged["step_credit/seconds"][0] > 0


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_the_step_term_changes_the_loss_and_its_gradient(policy, loss_type):
    found = {}
    for weight in (0.0, 1.0):
        trainer = make_trainer(policy, rules=HARD_MIN | {"step_weight": weight}, loss_type=loss_type)
        batch = scored_batch(trainer)
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        gradient = torch.cat(
            [each.grad.flatten() for each in trainer.model.parameters() if each.grad is not None]
        )
        found[weight] = loss.item(), gradient
        # At the ratio 1 a token's loss is its advantage, negative
        mask, advantages = batch["completion_mask"], batch["advantages"]
        sums, lengths = (-advantages * mask).sum(1), mask.sum(1)
        wanted = {
            "grpo": (sums / lengths).mean(),
            "dapo": sums.sum() / lengths.sum(),
            "dr_grpo": sums.sum() / (4 * 48),
        }
        assert loss.item() == pytest.approx(wanted[loss_type].item(), abs=1e-6)
    assert abs(found[1.0][0] - found[0.0][0]) > 1e-3
    cosine = torch.cosine_similarity(found[0.0][1], found[1.0][1], dim=0)
    assert cosine < 0.999  # another direction, not only another size


@pytest.mark.parametrize("scale_rewards", ["none", "group"])
def test_without_step_weight_it_is_grpo_with_the_baseline_of_the_others(policy, scale_rewards):
    plain = scored_batch(make_trainer(policy, GRPOTrainer, scale_rewards=scale_rewards))
    ours = scored_batch(
        make_trainer(policy, rules=HARD_MIN | {"step_weight": 0.0}, scale_rewards=scale_rewards)
    )
    wanted = 2 * plain["advantages"][:, None] * ours["completion_mask"]  # n / (n - 1) of groups of two
    assert torch.allclose(ours["advantages"], wanted, atol=1e-4)


def test_nothing_of_ours_is_an_attribute_of_the_trainer(policy):
    """An attribute `beta` of a subclass once was overwritten by the KL coefficient, and the step term was
    gone without a word.
    """
    plain, ours = make_trainer(policy, GRPOTrainer), make_trainer(policy, rules=HARD_MIN, beta=0.04)
    scored_batch(plain)
    scored_batch(ours)
    new = vars(ours).keys() - vars(plain).keys() - {"ref_model"}
    assert new == {"step_credit", "_step_advantages"}
    assert not new & set(dir(plain))
    overridden = {
        name for name in vars(StepCreditTrainer) if hasattr(GRPOTrainer, name) and not name.startswith("__")
    }
    assert overridden == {"_calculate_rewards", "_generate_and_score_completions"}
    assert ours.beta == 0.04


def test_it_trains_through_trls_buffers(policy):
    batches = {
        "max_steps": 2,
        "num_iterations": 2,
        "steps_per_generation": 2,
        "per_device_train_batch_size": 2,
    }
    trainer = make_trainer(policy, rules=HARD_MIN, beta=0.01, **batches)
    before = trainer.model.lm_head.weight.detach().clone()
    trainer.train()
    logged = trainer.state.log_history[0]
    assert {"kl", "step_credit/seconds", "step_credit/n_steps", "step_credit/auroc"} <= logged.keys()
    assert not torch.equal(before, trainer.model.lm_head.weight)


def test_a_verdict_that_is_no_reward_is_still_what_scores_are_held_against(policy):
    trainer = make_trainer(policy, rules=HARD_MIN | {"outcome_weight": 0.0}, reward_weights=[0.0])
    scored_batch(trainer)
    # Worst scores .6 and .5 of the right ones, .2 of the wrong one
    assert trainer._metrics["train"]["step_credit/auroc"] == [1.0]


def test_what_it_cannot_do_is_refused(policy):
    with pytest.raises(InputError, match=r"batch.*expected group or none"):
        make_trainer(policy, rules=HARD_MIN, scale_rewards="batch")


@pytest.mark.slow
def test_a_group_may_lie_across_processes(policy, tmp_path):
    train_in_two(tmp_path / "meeting", across_processes, policy)


def across_processes(policy):
    trainer = make_trainer(policy, rules=HARD_MIN, per_device_train_batch_size=2, num_generations=4)
    rows = [trainer.train_dataset[0]] * 2
    trainer.model.train()
    own = trainer._generate_and_score_completions(rows)["advantages"]
    scores = [[0.9, 0.6], [0.2, 0.4], [0.5, 0.5]]
    wanted = credit_of_group(
        trainer.step_credit.rules,
        [1.0, 0.0, 0.0, None],  # the third answers another question
        [*(CompletionScores(tuple(each)) for each in scores), CompletionScores(failure="PathTooLong")],
    ).advantages
    first = 2 * trainer.accelerator.process_index
    assert own[0, 0].item() == pytest.approx(wanted[first][0])
    assert own[1, 0].item() == pytest.approx(wanted[1][0] if first == 0 else 0)
