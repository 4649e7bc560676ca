from django.apps import AppConfig


class DataRegistryConfig(AppConfig):
    name = "data_registry"

    def ready(self) -> None:
        from data_registry import signals  # noqa: F401
