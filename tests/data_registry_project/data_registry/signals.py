from typing import Any

from django.conf import settings
from django.db.models.signals import post_save, pre_delete
from django.dispatch import receiver

from data_registry.models import Job, Task
from data_registry.wipe import WIPES


@receiver(post_save, sender=Job)
def create_tasks(sender: Any, instance: Job, created: bool, **_: Any) -> None:  # noqa: ARG001
    if created:
        for order, kind in enumerate(settings.JOB_TASKS_PLAN, 1):
            Task.objects.create(job=instance, type=kind, order=order)


@receiver(pre_delete, sender=Task)
def wipe_task(sender: Any, instance: Task, **_: Any) -> None:  # noqa: ARG001
    WIPES[instance.type](instance)
