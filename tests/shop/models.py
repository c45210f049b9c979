"""Models with keys, relations and fields of every kind; they have no migrations."""

import uuid

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self):
        return self.name


class Tag(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self):
        return self.name


class Book(models.Model):
    """The usual case: a number as its key, and relations of both kinds."""

    title = models.CharField(max_length=100)
    price = models.DecimalField(max_digits=8, decimal_places=2, default="9.90")
    author = models.ForeignKey(Author, models.CASCADE, null=True, related_name="books")
    tags = models.ManyToManyField(Tag, related_name="books")

    def __str__(self):
        return self.title


class Size(models.TextChoices):
    SMALL = "s", "Small"
    LARGE = "l", "Large"


class Rating(models.IntegerChoices):
    POOR = 1
    GOOD = 2


class Specimen(models.Model):
    """One column of each type, all of them empty unless given."""

    text = models.TextField(null=True)  # noqa: DJ001 - null is what is tested
    flag = models.BooleanField(null=True)
    whole = models.BigIntegerField(null=True)
    real = models.FloatField(null=True)
    amount = models.DecimalField(max_digits=30, decimal_places=10, null=True)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    clock = models.TimeField(null=True)
    span = models.DurationField(null=True)
    code = models.UUIDField(null=True)
    document = models.JSONField(null=True)
    size = models.CharField(max_length=1, choices=Size, null=True)  # noqa: DJ001 - null is what is tested
    rating = models.IntegerField(choices=Rating, null=True)
    file = models.FileField(null=True)
    address = models.GenericIPAddressField(null=True)
    blob = models.BinaryField(null=True)

    def __str__(self):
        return str(self.pk)


class Ticket(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    number = models.IntegerField()

    def __str__(self):
        return str(self.number)


class Country(models.Model):
    code = models.CharField(max_length=10, primary_key=True)

    def __str__(self):
        return self.code


class Ebook(Book):
    """Its key is a relation to its parent."""

    pages = models.IntegerField()


class Line(models.Model):
    """Its key has two columns."""

    pk = models.CompositePrimaryKey("order", "place")
    order = models.IntegerField()
    place = models.IntegerField()

    def __str__(self):
        return f"{self.order}.{self.place}"


class Ranked(models.Model):
    """Its own order is not that of its key."""

    rank = models.IntegerField()

    class Meta:
        ordering = ["-rank"]

    def __str__(self):
        return str(self.rank)
