"""Models, whichever task has made or read them."""

from collections.abc import Sequence

from foldline.calls.base import Calls, given, part
from foldline.listing import Json, Listing


class Models(Calls):
    def list(
        self,
        *,
        project: str | None = None,
        name: str | None = None,
        tag: str | Sequence[str] | None = None,
        framework: str | None = None,
        task: str | None = None,
        url: str | None = None,
        published: bool | None = None,
        archived: bool | None = None,
        limit: int | None = None,
    ) -> Listing:
        """Newest first; of several tags one is enough."""
        return self._list(
            "models",
            limit,
            project=project,
            name=name,
            tag=tag,
            framework=framework,
            task=task,
            url=url,
            published=published,
            archived=archived,
        )

    def get(self, identifier: str) -> Json:
        """As of this client's last write at least."""
        return self._get(f"models/{part(identifier)}", given(min_position=self._client.position))
