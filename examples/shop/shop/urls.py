from django.urls import path

from shop import views

urlpatterns = [
    path("api/health/", views.health),
    path("api/incidents/", views.incidents),
    path("order/", views.order),
    path("", views.index),
]
