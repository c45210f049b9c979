"""What the demo exports."""

from django.db import models


class Measurement(models.Model):
    """One reading of a sensor; ``manage.py demo_rows`` makes as many as one likes."""

    class Status(models.TextChoices):
        OK = "ok", "OK"
        HIGH = "high", "High"
        LOW = "low", "Low"

    sensor = models.CharField(max_length=32)
    value = models.DecimalField(max_digits=7, decimal_places=2)
    taken_at = models.DateTimeField()
    status = models.CharField(max_length=8, choices=Status, default=Status.OK)

    def __str__(self) -> str:
        return f"{self.sensor}: {self.value}"
