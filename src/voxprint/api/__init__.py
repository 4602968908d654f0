"""What Python callers see: a gallery is opened, and the object that comes knows the verbs."""

from voxprint.api.opening import embedded_server, open  # noqa: A004
from voxprint.api.verbs import Voxprint

__all__ = ["Voxprint", "embedded_server", "open"]
