"""Addresses of the pages: /page/bell/ and the like, and under /do/ what a test makes happen."""

from django.contrib.auth import get_user_model, login
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import include, path

from project.policy import DemoPolicy
from sse_app import current_cursor
from sse_app.fragments import publish_template
from sse_app.models import Notification
from sse_app.notifications import notify, notify_all


class Open(DemoPolicy):
    """As the demo's, and anyone reads prices."""

    def can_subscribe(self, user, scope, topic):
        return topic == "prices" or super().can_subscribe(user, scope, topic)


def user_of(name):
    return get_user_model().objects.get_or_create(username=name)[0]


def page(request, name):
    context = {"cursor": current_cursor("prices"), "theme": request.GET.get("theme", "light dark")}
    return render(request, f"{name}.html", context)


def sign_in(request, name):
    login(request, user_of(name), "django.contrib.auth.backends.ModelBackend")
    return HttpResponse("ok")


def send(request):
    """Send a notification: ``?to=ada&title=Hello``."""
    fields = request.GET.dict()
    to = fields.pop("to", None)
    sent = notify(user_of(to), **fields) if to else notify_all(**fields)
    return JsonResponse({"id": sent.pk})


def send_many(request):
    """Send as many as one likes: ``?to=ada&count=120``."""
    Notification.objects.bulk_create(
        Notification(title=f"{number}", recipient=user_of(request.GET["to"]))
        for number in range(int(request.GET["count"]))
    )
    return JsonResponse({})


def send_in_silence(request):
    """Keep one that no event tells of: ``?to=ada&title=Hello``."""
    Notification.objects.create(title=request.GET["title"], recipient=user_of(request.GET["to"]))
    return JsonResponse({})


def forget(request):
    """Begin anew: no users and no notifications."""
    get_user_model().objects.all().delete()
    Notification.objects.all().delete()
    return JsonResponse({})


def price(request):
    """Publish a piece of HTML: ``?price=7&event=price``."""
    event = request.GET.get("event")
    published = publish_template("prices", "price.html", {"price": request.GET["price"]}, event=event)
    return JsonResponse({"receivers": published.receivers})


urlpatterns = [
    path("", include("project.urls")),
    path("page/<str:name>/", page),
    path("do/sign-in/<str:name>/", sign_in),
    path("do/send/", send),
    path("do/price/", price),
    path("do/send-many/", send_many),
    path("do/send-in-silence/", send_in_silence),
    path("do/forget/", forget),
]
