from __future__ import annotations

import math

import pytest
import torch

from engine.sampling.philox import UniformStream, philox4x32, round_keys, uniforms
from tests.engine.sampling.oracle import chi_square, chi_square_limit

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", -1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            0x299F31D0A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers_of_the_random123_distribution(counter: str, key: int, expected: str) -> None:
    words = torch.tensor([[[int(word, 16) for word in counter.split()]]])
    result = philox4x32(words, round_keys([key], CPU))
    assert [f"{word:08x}" for word in result.flatten().tolist()] == expected.split()


def test_the_uniform_is_built_from_the_first_two_words() -> None:
    keys = round_keys([42], CPU)
    position = 5_000_000_007  # more than 32 bits
    counter = torch.tensor([[[position & 0xFFFFFFFF, position >> 32, 0, 0]]])
    first, second = philox4x32(counter, keys)[0, 0, :2].tolist()
    expected = ((first >> 5) * 2**26 + (second >> 6)) / 2**53
    assert uniforms(keys, torch.tensor([[position]])).item() == expected


@pytest.mark.parametrize(("low", "high"), [(-1, 2**64 - 1), (-(2**63), 2**63)])
def test_signed_and_unsigned_spellings_of_a_seed_agree(low: int, high: int) -> None:
    assert torch.equal(round_keys([low], CPU), round_keys([high], CPU))


def test_a_stream_goes_on_where_another_stopped() -> None:
    whole = UniformStream.start([7, -9], [0, 100], CPU)
    history = []
    for _ in range(50):
        history.append(whole.current().clone())
        whole.advance()
    for start in (0, 1, 15, 16, 17, 33):
        resumed = UniformStream.start([-9], [100 + start], CPU)
        for column in range(start, 50):
            assert resumed.current().item() == history[column][1].item()
            resumed.advance()


@pytest.mark.parametrize("steps", [0, 1, 9, 14, 15, 16, 40])
def test_a_look_ahead_changes_nothing(steps: int) -> None:
    seeds, positions = [7, -9, 4], [0, 100, 3]
    stream = UniformStream.start(seeds, positions, CPU)
    for _ in range(steps):
        stream.advance()
    ahead = stream.ahead([3, 1, 8])
    expected = [
        UniformStream.start([seed], [position + steps + n], CPU)
        for seed, position, count in zip(seeds, positions, (3, 1, 8), strict=True)
        for n in range(count)
    ]
    for _ in range(20):
        assert ahead.current().flatten().tolist() == [one.current().item() for one in expected]
        for one in (ahead, *expected):
            one.advance()
    plain = UniformStream.start(seeds, [position + steps for position in positions], CPU)
    for _ in range(20):
        assert torch.equal(stream.current(), plain.current())
        stream.advance()
        plain.advance()


@pytest.mark.parametrize("counts", [(0, 3), (7, 1), (0, 15), (20, 2)])
@pytest.mark.parametrize("steps", [0, 5, 12, 15, 16])
def test_skipped_positions_are_passed_over(steps: int, counts: tuple[int, int]) -> None:
    stream = UniformStream.start([7, -9], [0, 100], CPU)
    for _ in range(steps):
        stream.advance()
    stream.skip(counts)
    stream.advance()
    stream.skip((1, 0))
    positions = [steps + counts[0] + 2, 100 + steps + counts[1] + 1]
    expected = UniformStream.start([7, -9], positions, CPU)
    for _ in range(20):
        assert torch.equal(stream.current(), expected.current())
        stream.advance()
        expected.advance()


def test_values_lie_in_the_half_open_unit_interval_and_fill_it() -> None:
    values = uniforms(round_keys([1], CPU), torch.arange(100_000).unsqueeze(0))
    assert 0 <= values.min() < 1e-4
    assert 1 - 1e-4 < values.max() < 1


@pytest.mark.parametrize("axis", ["positions", "seeds", "high seed bits"])
def test_uniform_over_positions_and_over_seeds(axis: str) -> None:
    n, cells = 50_000, 100
    if axis == "positions":
        values = uniforms(round_keys([2024], CPU), torch.arange(n).unsqueeze(0))
    else:
        shift = 40 if axis == "high seed bits" else 0
        seeds = [index << shift for index in range(n)]
        values = uniforms(round_keys(seeds, CPU), torch.zeros(n, 1, dtype=torch.int64))
    counts = torch.histc(values.flatten(), cells, 0, 1).tolist()
    assert chi_square(counts, [n / cells] * cells) < chi_square_limit(cells - 1)


@pytest.mark.parametrize("neighbour", ["next position", "next seed"])
def test_neighbours_are_independent(neighbour: str) -> None:
    n, side = 40_000, 10
    if neighbour == "next position":
        values = uniforms(round_keys([3], CPU), torch.arange(2 * n).unsqueeze(0)).view(n, 2)
    else:
        positions = torch.zeros(2 * n, 1, dtype=torch.int64)
        values = uniforms(round_keys(list(range(2 * n)), CPU), positions).view(n, 2)
    cell = (values * side).to(torch.int64)
    counts = torch.bincount(cell[:, 0] * side + cell[:, 1], minlength=side * side).tolist()
    assert chi_square(counts, [n / side**2] * side**2) < chi_square_limit(side**2 - 1)


def test_every_bit_is_fair() -> None:
    n = 20_000
    bits = (uniforms(round_keys([11], CPU), torch.arange(n).unsqueeze(0)) * 2**53).to(torch.int64)
    for place in range(53):
        ones = int(((bits >> place) & 1).sum())
        assert abs(ones - n / 2) < 4.5 * math.sqrt(n) / 2, place


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_agrees_bit_for_bit() -> None:
    positions = torch.arange(1000).repeat(3, 1)
    seeds = [0, -1, 123456789123]
    cuda = uniforms(round_keys(seeds, torch.device("cuda")), positions.cuda())
    assert torch.equal(uniforms(round_keys(seeds, CPU), positions), cuda.cpu())
