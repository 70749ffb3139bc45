"""What the options of the commands are called, and the sentence of help that each has. Knows nothing of what they do.

Names and numbers are taken as they come: `runs.options` says everything that is wrong with them at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

ADVANCED = "Advanced"

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A folder, a zip, or sample:NAME.")]


def _advanced(help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=ADVANCED, **more)


Backbone = Annotated[
    str, typer.Option(metavar="NAME", help="The pretrained network; see: backbones. Any timm name will do, too.")
]
Weights = Annotated[str | None, typer.Option(metavar="NAME", help="Its set of weights, if not the default one.")]
Strategy = Annotated[
    str | None, typer.Option(metavar="NAME", help="How much of it to re-train; see: strategies. Or auto, by the rule.")
]
Stages = Annotated[
    int | None, _advanced("Last stages that learn, for partial_fine_tuning; 2 unless said.", metavar="N")
]
Epochs = Annotated[
    int | None, typer.Option(metavar="N", help="Passes over the training pictures; the strategy's own unless said.")
]
ImageSize = Annotated[
    int | None, _advanced("Side of the network's input, pixels; that of the weights unless said.", metavar="N")
]
Seed = Annotated[int, _advanced("Of the split and of the training.", metavar="N")]
Device = Annotated[str, typer.Option(metavar="NAME", help="Where to train: auto, cpu, cuda or mps.")]
Classes = Annotated[
    str,
    _advanced("Which folder names the class: the first below the root, or the innermost.", metavar="WHICH"),
]
Workspace = Annotated[
    str | None, typer.Option(metavar="TOKEN", help="The workspace of the app in which it is to be seen.")
]

Solver = Annotated[
    str, _advanced("How the head alone is found: logistic, at once, or adam, with epochs to watch.", metavar="NAME")
]
BatchSize = Annotated[int, _advanced("Pictures a step of the optimizer.", metavar="N")]
Optimizer = Annotated[str | None, _advanced("Who takes the steps: adamw or sgd.", metavar="NAME")]
LearningRate = Annotated[
    float | None, _advanced("Learning rate of the head at its peak; find-rate suggests one.", metavar="X")
]
StageRate = Annotated[float | None, _advanced("Learning rate, at its peak, of the last stage.", metavar="X")]
RateDecay = Annotated[
    float | None, _advanced("Factor of the rate from a stage to the one below it, 1: all the same.", metavar="X")
]
Momentum = Annotated[float | None, _advanced("How much of the last step stays in the next one, for sgd.", metavar="X")]
WeightDecay = Annotated[float | None, _advanced("How strongly weights are pulled towards zero.", metavar="X")]
Schedule = Annotated[
    str | None, _advanced("What the rate does after the warm-up: cosine, down to almost nothing, or constant.",
                          metavar="NAME"),
]  # fmt: skip
WarmUp = Annotated[float | None, _advanced("Share of the steps in which the rate rises.", metavar="X")]
LabelSmoothing = Annotated[
    float | None, _advanced("Share of certainty taken from each label, against overconfidence.", metavar="X")
]
Mixup = Annotated[float | None, _advanced("Alpha of mixup, which blends pairs of pictures; 0: none.", metavar="X")]
Cutmix = Annotated[
    float | None, _advanced("Alpha of CutMix, which pastes a piece of one picture into another; 0: none.", metavar="X")
]
Ema = Annotated[
    float | None, _advanced("Decay a step of the moving average of the weights that is kept; 0: none.", metavar="X")
]
Patience = Annotated[
    int | None, _advanced("Epochs without improvement after which training stops; 0: never.", metavar="N")
]
Clip = Annotated[float | None, _advanced("Norm that gradients are clipped to; 0: not at all.", metavar="X")]
ClassWeights = Annotated[
    bool | None, _advanced("Let rare classes count as much as common ones.", show_default=False)
]  # fmt: skip
Augmentation = Annotated[
    str | None, _advanced("How pictures are changed at random: none, light, medium or strong.", metavar="LEVEL")
]
Views = Annotated[
    int | None, _advanced("Changed copies of each picture that are kept where stages are computed once.", metavar="N")
]
NormLearns = Annotated[
    bool | None, _advanced("Let batch norm of the learning stages follow the pictures.", show_default=False)
]
LoraRank = Annotated[int | None, _advanced("Rank of the updates of lora.", metavar="N")]
