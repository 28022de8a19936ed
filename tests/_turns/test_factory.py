from __future__ import annotations

import pytest

import trunkline
from trunkline import Deadlines, Policy
from trunkline._network.assembly import assembled
from trunkline._network.credentials import Credentials
from trunkline._network.endpoint import Endpoint
from trunkline._network.loop_affinity import LoopAffinity
from trunkline._network.transports import Transport
from trunkline._protocol.fields import ENCRYPTED_REASONING, Fields
from trunkline._protocol.history import History
from trunkline._turns.factory import TurnFactory
from trunkline._turns.settings import TurnSettings

FIELDS = Fields.of({"model": "echo"})


@pytest.fixture
def factory() -> TurnFactory:
    """A factory whose transports dial nothing."""
    endpoint = Endpoint.of("https://gateway.example/v1")
    transports = assembled(
        endpoint,
        Credentials("sk-test", None, None, {}),
        Transport.AUTO,
        limits=trunkline.PoolLimits(),
        connect_s=None,
        ping_interval_s=20.0,
        ssl_context=None,
        proxy=None,
        log_content=False,
        world=trunkline.World(),
    )
    return TurnFactory(transports, endpoint, TurnSettings(), LoopAffinity(lambda: None))


async def test_a_turn_has_the_url_of_its_model_and_has_not_started(factory: TurnFactory) -> None:
    history = History()
    turn = factory.turn(FIELDS, history, None, generate=False)
    assert turn.request.url == "wss://gateway.example/v1/responses?model=echo"
    assert (turn.request.asked, turn.request.owner, turn.request.generate) == (history, None, False)
    assert turn.metrics.attempts == 0


async def test_encrypted_reasoning_is_requested_only_while_the_service_loses_responses(
    factory: TurnFactory,
) -> None:
    assert factory.turn(FIELDS, History(), None).request.fields is FIELDS
    factory.transports.not_found(factory.transports.world.clock())
    assert factory.turn(FIELDS, History(), None).request.fields.get("include") == [ENCRYPTED_REASONING]


async def test_settings_of_another_type_are_refused(factory: TurnFactory) -> None:
    factory.turn(FIELDS, History(), None, deadlines=Deadlines(), policy=Policy())
    with pytest.raises(trunkline.ConfigurationError, match="deadlines is 5"):
        factory.turn(FIELDS, History(), None, deadlines=5)  # type: ignore[arg-type]


def test_a_turn_is_made_in_an_event_loop(factory: TurnFactory) -> None:
    with pytest.raises(RuntimeError):
        factory.turn(FIELDS, History(), None)
