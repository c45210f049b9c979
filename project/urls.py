"""Addresses of the demo."""

from django.contrib import admin
from django.urls import include, path

from project import views

urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("favicon.ico", views.favicon),
    path("admin/", admin.site.urls),
    path("sse/", include("sse_app.urls")),
]
