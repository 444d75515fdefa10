"""
A support desk, with Flask: the blocking publisher, shared by all threads.

    flask --app flask_support run
"""

from flask import Flask, request
from werkzeug.exceptions import ServiceUnavailable

from publisher import PublishUnavailable, PublishUnknown, redis_url
from publisher.sync import Publisher

app = Flask(__name__)
tide = Publisher(redis_url())  # connects when it first has to: each worker that a server forks, by itself


@app.post("/tickets/<int:ticket>/replies")
def reply(ticket: int):
    """Show a reply to everybody who has the ticket open, but not to its author, who sees it already."""
    body = request.get_json()
    event_id = tide.publish(
        "ticket.reply",
        {"ticket": ticket, "author": body["author"], "text": body["text"]},
        to=f"group:ticket-{ticket}",
        exclude=f"user:{body['author']}",
        key=request.headers.get("Idempotency-Key"),
    )
    return {"event_id": event_id}, 201


@app.post("/tickets/<int:ticket>/close")
def close(ticket: int):
    """Tell those who look at it, and count for the dashboard, in one round trip."""
    tide.publish_many(
        [
            {"event": "ticket.closed", "data": {"ticket": ticket}, "to": f"group:ticket-{ticket}"},
            # A dashboard that was slow needs the newest state only.
            {"event": "desk.changed", "data": {"closed": ticket}, "to": "topic:desk", "collapse": "desk"},
        ]
    )
    return "", 204


@app.errorhandler(PublishUnavailable)
@app.errorhandler(PublishUnknown)
def unavailable(_error: Exception):
    return ServiceUnavailable("The event may not be out: try again under the same Idempotency-Key.")
