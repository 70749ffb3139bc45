"""Every page with a finished run open and a prediction made, in a fresh process: prints what that process holds as JSON.

python -m tests.app.touring TOKEN
"""

import json
import re
import sys
from pathlib import Path

from streamlit.testing.v1 import AppTest

from tl_core.training.strategies.strategies import AUTO, strategies
from ui.places import PLACES, PREDICT, TRAIN

ROOT = Path(__file__).parents[2]


def _every_strategy(app: AppTest) -> list[str]:
    """Choose each one, as far as it fits, on a network that all of them fit; what went wrong."""
    app.selectbox(key="any-backbone").select("vit_b_16").run()
    errors = []
    for name in (*strategies(), AUTO):
        app.button(key=f"choose-{name}").click().run()
        errors += [error.value for error in app.error]
    return errors


def main(token: str) -> None:
    # Not PATIENCE of tests.conftest, which brings a store of its own when it is imported.
    app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=600)
    app.query_params["workspace"] = token
    app.run()
    errors = [error.value for error in app.error]
    for place in sorted(PLACES.values(), key=lambda place: place is PREDICT):
        app.switch_page(place.file)
        app.query_params["workspace"] = token
        app.run()
        errors += [error.value for error in app.error]
        if place is TRAIN:
            errors += _every_strategy(app)
    next(button for button in app.button if button.label == "Try three test pictures").click().run()
    errors += [error.value for error in app.error]
    answered = sum("Never seen in training" in str(element.value) for element in app.markdown)
    resident = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    print(
        json.dumps(
            {
                "errors": errors,
                "answered": answered,
                "torch": sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "torchvision", "timm")),
                "megabytes": int(resident.group(1)) / 1000 if resident else 0,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
