"""The generated description holds: its examples are taken, and whatever is sent is answered as it says."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from tests.support.by_hand import Agent, answered, submitted, template
from tests.support.operations import operations_of

# How many are made up for each operation: most of the price is making them.
COUNTS = pytest.mark.parametrize("count", [2, pytest.param(25, marks=pytest.mark.storm)])
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def names(client: TestClient) -> Mapping[str, str]:
    """What stands for the names in an address, so that some of them are those of things that exist."""
    run = submitted(client, parameters=[{"name": "test_size", "default": 0.2}])
    return {
        "task_id": template(client)["id"],
        "run_id": run["id"],
        "pipeline_id": run["pipeline_id"],
        "agent_id": Agent(client).id,
        "name": "default",
        "step": "only",
    }


def test_every_example_of_a_body_makes_sense(client: TestClient, names: Mapping[str, str]):
    template(client)  # which the example of a definition names
    refused = {
        operation.name: answer.text
        for operation in operations_of(client)
        if operation.takes_json
        for answer in [operation.ask(client, names)]
        if answer.status_code in (400, 422)
    }
    assert refused == {}


def made_up(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )


@pytest.mark.slow
@COUNTS
def test_what_makes_sense_is_answered_as_described(
    count: int, client: TestClient, names: Mapping[str, str], subtests: pytest.Subtests
):
    for operation in described(client):

        @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        @made_up(count)
        def answers(case: Case) -> None:
            if sum(map(len, map(str, case.path_parameters.values()))) % 2:  # now and then: of things that exist
                case.path_parameters.update({name: names[name] for name in case.path_parameters if name in names})
            case.validate_response(sent(client, case), checks=CHECKS)

        with subtests.test(operation=operation.label):
            answers()


@pytest.mark.slow
@COUNTS
def test_what_makes_no_sense_is_refused_as_described(count: int, client: TestClient, subtests: pytest.Subtests):
    for operation in described(client):
        if not {"400", "422"} & set(operation.definition.raw["responses"]):
            continue  # nothing can be wrong there: hundreds of tries would find that out, too

        @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        @made_up(count)
        def answers(case: Case) -> None:
            case.validate_response(sent(client, case), checks=[*CHECKS, negative_data_rejection])

        with subtests.test(operation=operation.label), suppress(Unsatisfiable):  # where only bytes can be
            answers()


def described(client: TestClient) -> list[Any]:
    schema: Any = schemathesis.openapi.from_dict(answered(client.get("/api/v1/openapi.json")))
    return [found.ok() for found in schema.get_all_operations()]


def sent(client: TestClient, case: Case) -> Any:
    asked = case.as_transport_kwargs(base_url="http://127.0.0.1")
    asked["content"] = asked.pop("data", None)
    asked.pop("cookies", None)  # none are described
    if isinstance(wait := asked["params"].get("wait"), int | float) and wait > 0:
        asked["params"]["wait"] = min(wait, 0.1)  # for what never comes
    return client.request(**{name: value for name, value in asked.items() if value is not None})
