"""The paper's cycle (section 2.2): train, label what is not labelled, add what can be trusted, train again.

Every step finds out from the disk what of it is done: a run that was killed is started by the same line again, and goes
on within the step it was in.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from flarekit.checkpoints import Registry
from flarekit.checkpoints.registry import check_name
from flarekit.config.selftrain import SelftrainConfig
from flarekit.data.apart import require_apart
from flarekit.data.layouts import CaseFiles
from flarekit.errors import UsageError
from flarekit.files import output_errors, write_text
from flarekit.labels import LabelSet
from flarekit.selftrain.comparison import markdown
from flarekit.selftrain.labelling import check_predictions, label_cases
from flarekit.selftrain.report import gains_of, tested_arms
from flarekit.selftrain.state import Control, RoundState, RunState, TrainedModel, write_state
from flarekit.selftrain.stopping import reason_to_stop
from flarekit.selftrain.storing import ROLES, organs_of, store_cases, stored_unlabelled
from flarekit.selftrain.testing import cases_to_test, score_checkpoint, unscored
from flarekit.selftrain.training import (
    given_model,
    plan_control,
    plan_model,
    say_where_fold_was_seen,
    train_model,
)
from flarekit.selftrain.workplace import Workplace
from flarekit.training.lock import only_process

DONE = "done"
_LONGEST_SUFFIX = "-control-r99-m99"

logger = logging.getLogger(__name__)


def run_rounds(config: SelftrainConfig, registry: Registry, device: torch.device) -> RunState:
    """Run rounds until there is a reason to stop, then the control and the test; how it all ended comes back.

    Goes on where an earlier run of the folder was stopped, and leaves one that is done as it is. Raises UsageError when
    the folder holds a run of other settings or another process works on it, and what its steps raise.
    """
    check_name(config.name + _LONGEST_SUFFIX)
    place = Workplace(config.folder)
    with output_errors(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
    with only_process(place.lock):
        cycle = _Cycle(config, place, registry, device)
        cycle.check()
        cycle.store()
        cycle.rounds()
        cycle.control()
        cycle.test()
        cycle.note(DONE)
        return cycle.state


class _Cycle:
    """A run under way. Its state is on the disk whenever a method returns."""

    def __init__(self, config: SelftrainConfig, place: Workplace, registry: Registry, device: torch.device) -> None:
        self.config, self.place, self.registry, self.device = config, place, registry, device
        self.state = place.open(config)
        if self.state.step == DONE:
            logger.info("%s is done already: %s.", config.name, self.state.ended)
        elif self.state.step != RunState.step:
            logger.info("%s resumes at %s.", config.name, self.state.step)

    def note(self, step: str) -> None:
        """Say what is under way."""
        self._keep(replace(self.state, step=step))

    def check(self) -> None:
        """Raises now what would end the run hours later: checkpoints, cases or label maps that are not there."""
        for name in self.config.run.init.split(",") if self.config.run.init else ():
            self.registry.card(name.strip())
        for number, name in enumerate(self.config.rounds.first, start=1):
            say_where_fold_was_seen(self.registry.card(name, kind="reference"), name, number, self.config)
        if self.config.labelling.propagation_model:
            self.registry.card(self.config.labelling.propagation_model, kind="propagation")
        if self.config.test:
            cases_to_test(self.config)
        if not self.state.stored:
            organs = organs_of(self.config.data)
            check_predictions(self.config, organs, self.place)
            self._require_organs(organs)

    def store(self) -> None:
        """Fill the stores, which no test case is in. Raises InputError where one is."""
        if not self.state.stored:
            self.note("storing cases")
            store_cases(self.config.data, self.place)
            self._keep(replace(self.state, stored=True, unlabelled=len(self._unlabelled())))
        if self.config.test:
            tests = {name: image for name, (image, _) in cases_to_test(self.config).digests.items()}
            require_apart(tests, [self.place.store(role) for role in ROLES if getattr(self.config.data, role)])

    def rounds(self) -> None:
        """One round after the other."""
        while (number := self._next_round()) is not None:
            before = self.state.rounds[number - 2] if number > 1 else None
            self._train(number, before)
            self._label(number, before)

    def control(self) -> None:
        """As many iterations as the rounds have had, without pseudo-labels."""
        wanted, rounds = self.config.control, len(self.state.rounds)
        if wanted is None or rounds < 2 or (self.state.control and self.state.control.rounds == rounds):
            return
        numbers = range(1, (wanted.models or self.config.rounds.models) + 1)
        models = tuple(self._control_model(number, rounds) for number in numbers)
        self._keep(replace(self.state, control=Control(rounds=rounds, models=models), test_cases=()))

    def test(self) -> None:
        """Score the test cases with the models of every round and of the control."""
        if self.config.test is None:
            return
        found = cases_to_test(self.config)
        models = [model for each in self.state.rounds for model in each.models]
        models += self.state.control.models if self.state.control else ()
        todo = [model for model in models if unscored(model.checkpoint, found, self.place)]
        if self.state.test_cases and not todo:
            return
        for number, model in enumerate(todo, start=1 + len(models) - len(todo)):
            self._announce(f"testing model {number} of {len(models)}, {model.checkpoint}")
            score_checkpoint(model.checkpoint, found, self.place, self.registry, self.device)
        self._keep(replace(self.state, test_cases=tuple(case.name for case in found.cases)))
        arms = tested_arms(self.state, self.place)
        write_text(self.place.report, markdown(arms, gains_of(arms)), overwrite=True)

    def _require_organs(self, organs: LabelSet) -> None:
        """Raises UsageError where given checkpoints, or test cases, have other organs than the labelled cases."""
        found = {name: self.registry.card(name).labels for name in self.config.rounds.first}
        if self.config.test:
            found[", ".join(map(str, self.config.test.cases))] = cases_to_test(self.config).labels
        for where, labels in found.items():
            if labels.names != organs.names:
                raise UsageError(
                    "has other organs than the labelled cases",
                    where=where,
                    remedy="Name them alike in dataset.json, or leave it out.",
                )

    def _next_round(self) -> int | None:
        """The round that is under way or comes next; None when there is a reason to stop, which is kept."""
        rounds = self.state.rounds
        if not rounds or rounds[-1].labels is None:
            return max(1, len(rounds))
        reason = reason_to_stop(rounds, self.config.rounds, self.state.unlabelled)
        if reason != self.state.ended:
            self._keep(replace(self.state, ended=reason))
            logger.info("%s: %s.", self.config.name, reason or "there are more rounds to do")
        return len(rounds) + 1 if reason is None else None

    def _train(self, number: int, before: RoundState | None) -> None:
        labels = before.labels if before else None
        known = self.state.rounds[number - 1] if len(self.state.rounds) >= number else None
        current = known or RoundState(number=number, trained_on=labels)
        self._keep(replace(self.state.with_round(current), test_cases=()))
        count = self.config.rounds.models
        while len(current.models) < count:
            model = self._model(number, before, len(current.models) + 1)
            current = replace(current, models=(*current.models, model))
            self._keep(self.state.with_round(current))

    def _model(self, number: int, before: RoundState | None, index: int) -> TrainedModel:
        if before is None and self.config.rounds.first:
            return given_model(self.config.rounds.first[index - 1], self.registry)
        plan = plan_model(self.config, self.place, before, index)
        self._announce(f"round {number}: model {index} of {self.config.rounds.models}, {plan.name}")
        return train_model(plan, self.config, self.place, self.registry, self.device)

    def _label(self, number: int, before: RoundState | None) -> None:
        current, cases = self.state.rounds[number - 1], self._unlabelled()
        self._announce(f"round {number}: labelling {len(cases)} cases")
        labels = label_cases(current, before, cases, self.config, self.place, str(self.device))
        logger.info(
            "Round %d: %d cases kept, %d rejected, %d failed.", number, labels.kept, labels.rejected, labels.failed
        )
        self._keep(self.state.with_round(replace(current, labels=labels)))

    def _control_model(self, number: int, rounds: int) -> TrainedModel:
        """Trained at once from scratch, else round by round; trainings that are finished are only looked up."""
        model: TrainedModel | None = None
        for after in range(2, rounds + 1) if self.config.rounds.start == "previous" else (rounds,):
            plan = plan_control(self.config, self.state.rounds[0], after, number, model)
            self._announce(f"control: model {number}, {plan.name}")
            model = train_model(plan, self.config, self.place, self.registry, self.device)
        assert model is not None
        return model

    def _unlabelled(self) -> list[CaseFiles]:
        return stored_unlabelled(self.config.data, self.place)

    def _announce(self, step: str) -> None:
        logger.info("%s: %s.", self.config.name, step)
        self.note(step)

    def _keep(self, state: RunState) -> None:
        if state != self.state:
            write_state(self.place.folder, state)
            self.state = state
