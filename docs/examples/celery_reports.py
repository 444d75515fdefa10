"""
Reports, made by Celery: a task that is tried again until its event is out, and that sends it once.

    celery -A celery_reports worker
"""

import os

from celery import Celery

from publisher import PublishUnavailable, PublishUnknown, redis_url
from publisher.sync import Publisher

app = Celery("reports", broker=os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/1"))
app.conf.update(
    task_acks_late=True,  # a task whose process dies is done again …
    task_reject_on_worker_lost=True,  # … at once
    broker_connection_retry_on_startup=True,
)
# Connects when it first has to: each process of the pool, by itself. Remembers a key as long as a task is tried again.
tide = Publisher(redis_url(), key_ttl_s=86_400)


@app.task(
    bind=True,
    autoretry_for=(PublishUnavailable, PublishUnknown),
    retry_backoff=True,  # 1, 2, 4 … s, with jitter
    retry_backoff_max=60,
    max_retries=None,
)
def make_report(self, user: str, month: str) -> None:
    """Make a report and tell its user. A task's id stays the same at every try, so it is the event's key."""
    report = build(user, month)
    tide.publish("report.ready", report, to=f"user:{user}", key=self.request.id, message_id=self.request.id)


def build(user: str, month: str) -> dict[str, str]:
    return {"month": month, "url": f"/reports/{user}/{month}.pdf"}  # in place of the work
