"""stub for the moment"""


def render(results):
    return ""
