"""Which profile an exposition fits."""

import pytest

from controlplane.telemetry import PROFILES, Fit, fits
from tests.telemetry.test_servers import exposed


def fitting(*texts: str) -> tuple[Fit, ...]:
    return fits([(text, 5.0 * n) for n, text in enumerate(texts)], PROFILES.values())


@pytest.mark.parametrize("server", PROFILES)
def test_each_servers_exposition_fits_its_own_profile_best(server: str) -> None:
    best = fitting(exposed(server))[0]
    assert (best.profile, best.fits) == (server, True)
    # TEI itself has no GPU memory to tell of; a replica that does, does it under TEI's names.
    assert [quantity for quantity, _ in best.missing] == (["memory"] if server == "tei" else [])


def test_what_a_profile_lacks_is_named_with_its_families() -> None:
    text = exposed("triton").replace("nv_gpu_memory_used_bytes", "other")
    best = fitting(text)[0]
    assert best.missing == (("memory", ("nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes")),)
    assert best.fits


def test_a_server_that_has_answered_nothing_yet_nearly_fits() -> None:
    (only,) = fitting("vllm:num_requests_waiting 0\n")[:1]
    assert (only.fits, only.found) == (False, ("queue",))
    assert only.missing[0] == ("latency", ("vllm:e2e_request_latency_seconds",))


def test_a_text_that_cannot_be_read_fits_nothing_and_says_why() -> None:
    found = fitting(exposed("vllm").replace('le="+Inf"', 'le="9999"'))
    assert not found[0].fits
    assert any(fit.error and "has no bucket le=+Inf" in fit.error for fit in found)


def test_of_two_texts_the_rate_and_the_mean_are_those_between() -> None:
    later = (
        exposed("triton").replace("} 1000\n", "} 1100\n").replace("} 20000000\n", "} 23000000\n")
    )
    window = fitting(exposed("triton"), later)[0].window
    assert window is not None
    assert window.rate == pytest.approx(20)
    assert window.latency == pytest.approx(0.03)


def test_an_exposition_of_something_else_fits_nothing() -> None:
    assert fitting("node_load1 0.5\n") == ()
