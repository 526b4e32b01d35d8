import base64
import hashlib
import hmac
import json
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


def incidents(request):
    """heartbeatd posts every step of an incident here; GET lists the newest step of each."""
    if request.method == "POST":
        if not is_from_heartbeatd(request):
            return HttpResponse("the signature is wrong\n", status=401)
        # An attempt may be repeated; the key says so.
        key = request.headers["webhook-id"]
        if all(known["key"] != key for known in known_steps()):
            with open(settings.INCIDENTS_FILE, "a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "incident": json.loads(request.body)}) + "\n")
        return HttpResponse(status=204)
    newest = {step["incident"]["id"]: step["incident"] for step in known_steps()}
    return JsonResponse({"incidents": list(newest.values())})


def known_steps():
    try:
        with open(settings.INCIDENTS_FILE, encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        return []


def is_from_heartbeatd(request):
    """Whether the request is signed with our secret, and not an old one that somebody sends again: Standard Webhooks."""
    key, sent_at = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
    if not settings.WEBHOOK_SECRET or not sent_at.isdigit() or abs(time.time() - int(sent_at)) > 300:
        return False
    secret = base64.b64decode(settings.WEBHOOK_SECRET.removeprefix("whsec_"))
    content = f"{key}.{sent_at}.".encode() + request.body
    expected = "v1," + base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()
    # Two during a change of the secret.
    signatures = request.headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


def order(request):
    queue.rpush("orders", "one of everything")
    return HttpResponse("thank you\n")


def index(request):
    delivered = int(queue.get("delivered") or 0)
    return HttpResponse(f"{delivered} delivered\n")
