"""Addresses of the app; mount them where you like, for example at ``sse/``."""

from django.urls import path

from sse_app import inbox_views, poll, views

app_name = "sse"
urlpatterns = [
    path("events/", views.events, name="events"),
    path("topics/<str:topic>/", views.topic, name="topic"),
    path("topics/<str:topic>/export/", views.export, name="export"),
    path("topics/<str:topic>/presence/", views.readers, name="presence"),
    path("poll/", poll.poll, name="poll"),
    path("notifications/", inbox_views.notifications, name="notifications"),
    path("notifications/read/", inbox_views.read, name="notifications-read"),
    path("health/live/", views.live, name="live"),
    path("health/ready/", views.ready, name="ready"),
]
