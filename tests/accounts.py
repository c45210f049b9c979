"""Accounts, and the headers with which their browsers come."""

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

CSRF_TOKEN = "a" * 32


def make_user(username="reader", *, may_publish=False):
    user = get_user_model().objects.create_user(username)
    if may_publish:
        user.user_permissions.add(Permission.objects.get(codename="publish_event"))
    return user


def headers_of(user, *, csrf=True):
    """Give the headers of the user's browser: session cookie, CSRF cookie and its token."""
    client = Client()
    client.force_login(user)
    cookies = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    if not csrf:
        return [(b"cookie", cookies.encode())]
    cookies += f"; {settings.CSRF_COOKIE_NAME}={CSRF_TOKEN}"
    return [(b"cookie", cookies.encode()), (b"x-csrftoken", CSRF_TOKEN.encode())]


@sync_to_async
def signed_in(username="reader", *, may_publish=False, csrf=True):
    """Make an account and give the headers of its browser."""
    return headers_of(make_user(username, may_publish=may_publish), csrf=csrf)
