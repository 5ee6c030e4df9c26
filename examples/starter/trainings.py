"""Steps that train a network, stage after stage, and publish it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pieces import Step
from study import STCN, Study

from flarekit.config.run import RunSettings, Stores

LICENCE = "CC BY-SA 4.0, research use; see LICENSE-weights"
REAL = "real CTs without labels: "  # what stands before their credit on a card
NOTES = (
    "Trained on painted CTs whose HU are drawn anew for every sample{real}. Not a medical device. Anatomy: FLARE22, "
    "built on the Medical Segmentation Decathlon (pancreas). Not affiliated with either."
)


def training_steps(study: Study) -> list[Step]:
    """Network after network: its stages, and its publication."""
    steps = []
    for name, stages in study.networks.items():
        steps += [
            Step(
                name=f"train-{name}-{stage.name}",
                minutes=stage.minutes,
                work=partial(train_stage, study, name, number),
                networks=(name,),
            )
            for number, stage in enumerate(stages)
        ]
        steps += [Step(name=f"publish-{name}", minutes=0.1, work=partial(publish, study, name), networks=(name,))]
    return steps


def train_stage(study: Study, name: str, number: int) -> None:
    """A stage of a network, from the weights of the stage before it."""
    import torch

    from flarekit.checkpoints import Registry
    from flarekit.models.device import resolve_device
    from flarekit.training.runs import train

    if study.threads is not None:
        torch.set_num_threads(study.threads)
    config, settings = study.networks[name][number].config, settings_of(study, name, number)
    workers = None if study.device == "cpu" else study.workers
    loop = replace(config.loop, seed=100 * study.seed(name) + number, workers=workers)
    resume = (settings.runs / settings.name / "config.toml").is_file()
    with study.clock.interrupting():
        train(
            settings, replace(config, loop=loop), Registry.default(),
            device=resolve_device(study.device), resume=resume,
        )  # fmt: skip


def settings_of(study: Study, name: str, number: int) -> RunSettings:
    """What a stage learns from, and where it starts."""
    stages = study.networks[name]
    before = f"{name}-{stages[number - 1].name}@1" if number else None
    return RunSettings(
        name=f"{name}-{stages[number].name}",
        arch=study.recipe.arch,
        init=before or (name if study.continues(name) else None),  # OUT/home has none: it is the package's
        runs=study.out / "runs",
        device=study.device,
        stores=stores_of(study, name),
    )


def stores_of(study: Study, name: str) -> Stores:
    """What a network learns from and is judged on."""
    folder = study.out / "stores"
    unlabelled = (folder / "unlabelled", *((folder / "real",) if study.cts else ()))
    return Stores(
        labelled=(folder / "train", folder / "synthetic"),
        unlabelled=() if name == STCN else unlabelled,
        validation=folder / "validation",
    )


def publish(study: Study, name: str) -> None:
    """The last stage of a network as float16 in OUT/published, with where it comes from on its card.

    Its version follows those in the package, so that a name without one means it. One that is there is left as it is: a
    call may have been killed before it noted that.
    """
    from flarekit.checkpoints import Provenance, Registry

    published = Registry(study.registry, packaged=study.out / "none")
    if any(card.name == name for card in published.listing().cards):
        return
    trained, stages = Registry.default(), study.networks[name]
    loaded = trained.load(f"{name}-{stages[-1].name}@1")
    started_from = trained.card(f"{name}-{stages[0].name}@1").parents
    credits = () if name == STCN else study.credits or tuple(ct.name for ct in study.cts)
    inherited = [data for data in loaded.card.provenance.data if data.startswith(REAL)]  # of --init
    real = dict.fromkeys((*inherited, *(f"{REAL}{credit}" for credit in credits)))
    provenance = Provenance(
        initialisation=", ".join(started_from) or "random",
        data=(
            "CTs painted by `flarekit phantom` on 35 label maps of FLARE22's training set (split.json)",
            "CTs painted on synthetic anatomy",
            *real,
        ),
        pretrained_or_extra_data=True,  # what --challenge refuses
        licence=LICENCE,
        notes=NOTES.format(real=" and on real CTs without labels" if real else " alone"),
    )
    card = Registry(study.registry).publish(
        replace(loaded.card, name=name, provenance=provenance), loaded.networks, half=True
    )
    print(f"published {card.reference}", flush=True)
