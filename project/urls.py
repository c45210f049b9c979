"""Addresses of the demo."""

from django.contrib import admin
from django.urls import include, path

from project import chat, exports, views

urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("demo/export/", exports.page, name="export"),
    path("demo/export/rows/", exports.measurements, name="export-rows"),
    path("demo/chat/", chat.page, name="chat"),
    path("demo/", include("project.gallery.urls")),
    path("favicon.ico", views.favicon),
    path("admin/", admin.site.urls),
    path("sse/", include("sse_app.urls")),
]
