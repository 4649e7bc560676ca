# ruff: noqa: D106, DJ008
from django.db import models


class Job(models.Model):
    class Status(models.TextChoices):
        WAITING = "WAITING"
        PLANNED = "PLANNED"
        RUNNING = "RUNNING"
        COMPLETED = "COMPLETED"

    collection = models.ForeignKey("Collection", on_delete=models.CASCADE)
    start = models.DateTimeField(blank=True, null=True)
    end = models.DateTimeField(blank=True, null=True)
    status = models.TextField(choices=Status.choices, blank=True, default=Status.PLANNED)
    context = models.JSONField(blank=True, default=dict)
    created = models.DateTimeField(auto_now_add=True)
    modified = models.DateTimeField(auto_now=True)


class Collection(models.Model):
    title = models.TextField()
    country = models.TextField(blank=True)
    source_id = models.TextField()
    active_job = models.ForeignKey(
        "Job", on_delete=models.RESTRICT, blank=True, null=True, related_name="active_collection"
    )
    frozen = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)
    modified = models.DateTimeField(auto_now=True)


class Task(models.Model):
    class Status(models.TextChoices):
        WAITING = "WAITING"
        PLANNED = "PLANNED"
        RUNNING = "RUNNING"
        COMPLETED = "COMPLETED"

    class Result(models.TextChoices):
        OK = "OK"
        FAILED = "FAILED"

    class Type(models.TextChoices):
        COLLECT = "collect"
        PROCESS = "process"
        PELICAN = "pelican"
        EXPORTER = "exporter"
        FLATTENER = "flattener"

    job = models.ForeignKey("Job", on_delete=models.CASCADE)
    start = models.DateTimeField(blank=True, null=True)
    end = models.DateTimeField(blank=True, null=True)
    status = models.TextField(choices=Status.choices, blank=True, default=Status.PLANNED)
    result = models.TextField(choices=Result.choices, blank=True)
    note = models.TextField(blank=True)
    type = models.TextField(choices=Type.choices, blank=True)
    order = models.IntegerField(blank=True, null=True)
    created = models.DateTimeField(auto_now_add=True)
    modified = models.DateTimeField(auto_now=True)
