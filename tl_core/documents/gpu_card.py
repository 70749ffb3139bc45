"""What was found of a device of this machine when it was tried, which the store keeps: a GPU, by a child process, or the processor."""

from tl_core.documents.base import Document
from tl_core.documents.spec import Precision


class Card(Document):
    """One GPU, or one instance of a GPU that is split (MIG), as PyTorch sees and uses it."""

    uuid: str = ""
    """Its id, as the driver gives it: `GPU-...` or `MIG-...`."""
    name: str = ""
    capability: tuple[int, int] = (0, 0)
    """Compute capability, major and minor; (0, 0) where PyTorch does not see the card."""
    memory_mb: float = 0.0
    """All of its memory, megabytes."""
    precisions: tuple[Precision, ...] = ()
    """Those in which a matrix product and a convolution gave the right result."""
    problem: str | None = None
    """Why PyTorch cannot use it, in PyTorch's words or ours; None where it can."""
    tried: bool = True
    """Whether something was computed; False where others had all of its memory, and `precisions` are those of its generation."""
    slowness: float = 1.0
    """Time of a matrix product, divided by its time on the GPU of the table of speeds."""
    found_with: str = ""
    """A hash of what the answer depends on: the start of the machine, the driver, and the installed PyTorch."""

    @property
    def works(self) -> bool:
        return bool(self.precisions)

    @property
    def fastest(self) -> Precision:
        """The fastest precision that the card has in hardware, and in which training is stable."""
        if "bfloat16" in self.precisions and self.capability >= BFLOAT16_SINCE:
            return "bfloat16"
        if "float16" in self.precisions and self.capability >= FLOAT16_SINCE:
            return "float16"
        return "float32"


class Processor(Document):
    """How fast the processor of a machine ran the embedded backbone once."""

    machine: str
    """The processor and its cores, as `hardware.machine` names them."""
    slowness: float
    """Time of a picture, divided by its time in the table of speeds."""


BFLOAT16_SINCE = (8, 0)
"""Compute capability (Ampere) of the first GPUs that compute in bfloat16; older ones imitate it, slowly."""
FLOAT16_SINCE = (7, 0)
"""Compute capability (Volta) of the first GPUs whose tensor cores compute in float16."""
