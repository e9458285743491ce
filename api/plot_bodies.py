"""What is said of a plot: figures, tables, pictures and media that a task reports."""

from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field

from api.bodies import LARGEST_INTEGER, Body, PrintableName, Sha256, Text, Word, example
from domain.refused import Invalid
from eventstore.plots import Plot

Iteration = Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
PlotKind = Literal["plotly", "table", "image", "media", "text", "html"]


class AddPlot(Body):
    """One of `sha256`, the hash of a blob that is stored, and `url`, the address of what is stored elsewhere."""

    model_config = example(
        {
            "title": "samples",
            "series": "validation",
            "iteration": 10,
            "kind": "image",
            "url": "https://example.com/sample.png",
            "filename": "sample.png",
        }
    )

    title: PrintableName
    series: PrintableName
    iteration: Iteration = 0
    kind: PlotKind
    sha256: Sha256 | None = None
    url: Annotated[Text, Field(min_length=1, max_length=10_000)] | None = None
    filename: Word = Field(default="", description="Its extension tells a browser what it is.")
    size: int | None = Field(default=None, ge=0, le=LARGEST_INTEGER, description="In bytes; known of a blob.")
    attempt: int = Field(default=0, ge=0, description="The attempt that made it: refused once it is over.")
    keep: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="How many of this title and series stay: the highest iterations."
    )

    def added(self, size: int | None) -> Plot:
        """The plot; `size` is that of the blob. Raises Invalid."""
        if (self.sha256 is None) == (self.url is None):
            raise Invalid("Give either sha256, the hash of a stored blob, or url, where it is stored.", "sha256")
        blob = f"foldline://blobs/{self.sha256}/{quote(self.filename or self.kind, safe='')}"
        return Plot(
            title=self.title,
            series=self.series,
            iteration=self.iteration,
            kind=self.kind,
            digest=self.sha256,
            filename=self.filename,
            url=self.url or blob,
            size=self.size if size is None else size,
        )
