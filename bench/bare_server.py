"""The limit for what stands on FastAPI: a route that reads an agent's body and answers with as many claims."""

import sys

import uvicorn
from fastapi import FastAPI, Response

from api.agent_bodies import Exchange
from api.views import task_view
from api.wire import JsonResponse
from domain.content import Content
from domain.task import Task

# Made once: what an answer says of a task that has only been claimed.
TASK = task_view(Task(id="0" * 32), Content())

app = FastAPI(openapi_url=None)


@app.get("/")
async def here() -> None: ...


@app.post("/exchange")
async def exchange(body: Exchange) -> Response:
    claims = [
        {"task_id": report.task_id, "attempt": 1, "queue": "default", "run_id": None, "step": None, "task": TASK}
        for report in body.reports
    ]
    return JsonResponse({"claims": claims, "stop": [], "reports": []})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
