"""The last test of the API: the tests before it have provoked every status that the description names, and no other."""

from starlette.testclient import TestClient

from tests.api.conftest import Answered
from tests.support.operations import operations_of


def test_every_documented_status_was_provoked_and_every_answer_is_documented(
    shared_client: TestClient, answered: Answered
):
    documented = {(one.name, status) for one in operations_of(shared_client) for status in one.statuses}
    assert sorted(documented - answered.pairs) == [], "never provoked"
    assert sorted(answered.pairs - documented) == [], "not documented"
