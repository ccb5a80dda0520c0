"""What the OpenAPI document allows is answered as it says; what it forbids is refused."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_web_pages import RECORDING, SITE, posted
from web_world import NOW, WebWorld

from bot.store.rules import pause_rule
from bot.web.routes import PAGES

KNOWN = {
    "/api/v1/rules/{id}": {"id": "checkout-friction"},
    "/api/v1/recordings/{id}": {"id": RECORDING},
    "/api/v1/matches/{key}": {"key": f"checkout-friction/{SITE}/{RECORDING}"},
}
"""Parameters of what there is: nothing drawn at random would find it."""


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """The document of a running page with a little of everything in its store."""
    world = WebWorld(tmp_path_factory.mktemp("openapi"))
    posted(world)
    world.write(pause_rule, "outlet-404", "too much", NOW)
    yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", world.app())
    world.reader.close()
    world.store.close()


@pytest.mark.parametrize("path", [f"/api/v1/{page.view.path}" for page in PAGES.values()])
def test_every_path_answers_as_its_document_says(document, path):
    operation = document[path]["GET"]
    known = KNOWN.get(path)

    @settings(
        max_examples=40,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        # Speed and filters of the generator say nothing of the bot.
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), found=st.booleans())
    def answers(case, found):
        if known and found:
            case.path_parameters = known
        case.call_and_validate()

    answers()
