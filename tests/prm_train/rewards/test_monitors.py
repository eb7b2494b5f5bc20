import logging

import pytest
from transformers import TrainerControl, TrainerState

from data_gen.settings.errors import InputError
from prm_train.rewards.monitors import AGREEMENT, ALARM, KL, LENGTH, STEPS, MonitorLimits, RewardMonitor

STEADY = {LENGTH: 50.0, STEPS: 6.0, AGREEMENT: 0.9}


def watch(monitor, rows):
    """The values of monitor/alarm that are logged, and whether the training is to stop."""
    control, alarms = TrainerControl(), []
    for step, row in enumerate(rows, start=1):
        logs, state = dict(row), TrainerState(global_step=step, log_history=[dict(row)])
        monitor.on_log(None, state, control, logs=logs)
        assert logs[ALARM] == state.log_history[-1][ALARM]
        alarms.append(logs[ALARM])
    return alarms, control.should_training_stop


def test_what_stays_as_it_was_raises_no_alarm(caplog):
    monitor = RewardMonitor(MonitorLimits(window=2))
    assert watch(monitor, [STEADY, STEADY | {LENGTH: 90}, STEADY | {AGREEMENT: 0.85}] * 5) == (
        [0] * 15,
        False,
    )
    assert monitor.alarm is None
    assert caplog.records == []


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ({STEPS: 13.0}, "completions went from 6 to 13 steps"),
        ({LENGTH: 101.0}, "completions went from 50 to 101 tokens"),
        ({LENGTH: 24.0}, "completions went from 50 to 24 tokens"),
        ({AGREEMENT: 0.7}, "the scorer's AUROC against outcomes fell from 0.900 to 0.700"),
        ({KL: 3.0}, "the KL to the first policy is 3 nats a token"),
    ],
)
def test_it_says_once_to_stop_and_relabel(caplog, later, reason):
    monitor = RewardMonitor(MonitorLimits(window=2))
    with caplog.at_level(logging.WARNING):
        found = watch(monitor, [STEADY | {KL: 0.1}] * 2 + [STEADY | {KL: 0.1} | later] * 4)
    assert found == ([0, 0, 0, 1, 1, 1], False)  # once there are two windows
    assert monitor.alarm == reason
    (record,) = caplog.records
    assert record.getMessage().startswith(f"step 4: stop and relabel: {reason}. ")


def test_it_stops_the_training_if_it_is_to():
    monitor = RewardMonitor(MonitorLimits(window=1), stops_training=True)
    assert watch(monitor, [STEADY, STEADY])[1] is False
    assert watch(monitor, [STEADY | {STEPS: 100.0}])[1] is True
    assert monitor.alarm == "completions went from 6 to 100 steps"


def test_a_training_that_goes_on_is_held_against_its_first_steps():
    before = [STEADY] * 2 + [STEADY | {STEPS: 10.0}] * 2
    monitor = RewardMonitor(MonitorLimits(window=2))
    monitor.recall(before)
    assert watch(monitor, [STEADY | {STEPS: 14.0}])[0] == [0]  # 10 and 14
    assert watch(monitor, [STEADY | {STEPS: 14.0}])[0] == [1]
    assert monitor.alarm == "completions went from 6 to 14 steps"


def test_what_is_not_logged_is_not_missed():
    """Without both kinds of outcomes there is no AUROC, without beta no KL; evaluations and the summary at
    the end are not looked at.
    """
    monitor = RewardMonitor(MonitorLimits(window=1))
    assert watch(monitor, [{LENGTH: 5.0}, {LENGTH: 5.0, AGREEMENT: None}] * 3) == ([0] * 6, False)
    logs = {"eval_loss": 1.0}
    monitor.on_log(None, TrainerState(), TrainerControl(), logs=logs)
    assert logs == {"eval_loss": 1.0}


def test_limits_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="window of at least 1"):
        MonitorLimits(window=0)
    with pytest.raises(InputError, match="most_growth above 1"):
        MonitorLimits(most_growth=0.5)
