import os
import time

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpResponse, JsonResponse

queue = redis.Redis.from_url(
    settings.REDIS_URL, password=settings.REDIS_PASSWORD, socket_timeout=1, socket_connect_timeout=1
)


def health(request):
    """200 when everything that this site needs answers, otherwise 503 with the names of what does not."""
    played = play_fault()
    if played is not None:
        return played
    failing = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:
        failing["postgres"] = str(error).strip()
    try:
        queue.ping()
    except redis.RedisError as error:
        failing["redis"] = str(error)
    if failing:
        return JsonResponse({"status": "fail", "failing": failing}, status=503)
    return JsonResponse({"status": "ok"})


def play_fault():
    """A fault to try heartbeat with: the file that SHOP_FAULT names contains `500`, `hang` or `slow`."""
    try:
        with open(os.environ.get("SHOP_FAULT", ""), encoding="utf-8") as file:
            fault = file.read().strip()
    except OSError:
        return None
    if fault == "500":
        return HttpResponse("it broke", status=500)
    if fault == "hang":
        time.sleep(3600)
    if fault == "slow":
        time.sleep(10)
    return None


def order(request):
    queue.rpush("orders", "one of everything")
    return HttpResponse("thank you\n")


def index(request):
    delivered = int(queue.get("delivered") or 0)
    return HttpResponse(f"{delivered} delivered\n")
