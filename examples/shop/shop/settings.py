"""Settings of both sites. Where things are comes from the environment, so that heartbeat.toml is the one place."""

import os


def secret(name):
    """The content of the file that an environment variable names; None without one."""
    path = os.environ.get(name)
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for an example")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ.get("DATABASE_PORT", "5440"),
        "USER": "shop",
        "PASSWORD": secret("DATABASE_PASSWORD_FILE"),
        "NAME": "postgres",
        # A database that hangs must not hold a request for ever.
        "OPTIONS": {"connect_timeout": 2},
    }
}

REDIS_URL = f"redis://127.0.0.1:{os.environ.get('REDIS_PORT', '6380')}"
REDIS_PASSWORD = secret("REDIS_PASSWORD_FILE")

# heartbeatd signs its incidents with it.
WEBHOOK_SECRET = secret("WEBHOOK_SECRET_FILE")
INCIDENTS_FILE = os.environ.get("INCIDENTS_FILE", "incidents")
