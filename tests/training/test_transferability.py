"""Features that hold the classes score above noise, and the evidence is the one that a direct search finds."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from tl_core.training.transferability import Transferability, logme, stratified, transferability


def planted(
    images: int = 120, size: int = 40, classes: int = 3, *, signal: float = 3.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (N, D) whose mean differs from class to class by `signal`, and their labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    means = generator.normal(size=(classes, size)) * signal / np.sqrt(size)
    return (means[labels] + generator.normal(size=(images, size))).astype(np.float32), labels


def test_logme_is_the_evidence_that_a_direct_search_over_both_precisions_finds() -> None:
    for images, size in ((30, 6), (12, 20)):
        features, labels = planted(images, size, 2)
        wide = features.astype(np.float64)

        def worst(logs: NDArray[np.float64], target: NDArray[np.float64], wide: NDArray[np.float64] = wide) -> float:
            alpha, beta = np.exp(logs)
            covariance = np.eye(len(wide)) / beta + wide @ wide.T / alpha
            return -float(multivariate_normal.logpdf(target, np.zeros(len(wide)), covariance))

        found = [
            -minimize(worst, [0.0, 0.0], args=((labels == label).astype(float),), method="Nelder-Mead").fun / images
            for label in (0, 1)
        ]
        assert logme(features, labels) == pytest.approx(np.mean(found), abs=2e-3)


@pytest.mark.parametrize("size", [20, 400])
def test_features_that_hold_the_classes_rank_above_noise_and_weaker_ones_between(size: int) -> None:
    sets = [planted(120, size, signal=signal) for signal in (8.0, 2.5, 0.0)]
    scores = [transferability(*one) for one in sets]
    assert scores[0].logme > scores[1].logme > scores[2].logme
    assert scores[0].accuracy > scores[1].accuracy > scores[2].accuracy
    assert scores[0].similar
    assert not scores[2].similar
    assert scores[2].interval[0] < 1 / 3 < scores[2].interval[1]


def test_held_out_images_do_not_tell_their_own_labels() -> None:
    features, labels = planted(60, 300, 2, signal=0.0)
    assert transferability(features, labels).accuracy < 0.7


def test_similar_is_a_share_of_the_way_from_chance_to_perfect_and_no_high_accuracy() -> None:
    features, labels = planted(400, 20, 2, signal=1.2)
    kept = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:20]])
    scores = transferability(features[kept], labels[kept])
    assert scores.chance == pytest.approx(200 / 220)
    assert scores.share == pytest.approx((scores.accuracy - scores.chance) / (1 - scores.chance))
    assert scores.accuracy > 0.85
    assert not scores.similar
    assert "different" in scores.said("net")
    assert "similar" in transferability(*planted(signal=8.0)).said("net")


def test_features_without_evidence_are_not_similar_however_wide_the_interval() -> None:
    few = Transferability(images=4, accuracy=0.75, interval=(0.3, 0.95), chance=0.5, logme=-0.9, nothing=-0.7)
    assert not few.similar
    assert replace(few, logme=-0.5).similar


def test_small_classes_are_scored_and_single_images_are_left_out() -> None:
    features, labels = planted(60, 10, 3)
    labels = labels.copy()
    labels[0], labels[1:3] = 7, 9
    assert transferability(features, labels).images == 59
    with pytest.raises(ValueError, match="two classes"):
        transferability(features[:10], np.array([0] * 9 + [1]))


def test_the_scale_and_place_of_features_do_not_matter_to_the_head() -> None:
    features, labels = planted(90, 30)
    assert transferability(features * 50 + 7, labels).accuracy == transferability(features, labels).accuracy


def test_many_images_are_thinned_class_by_class() -> None:
    labels = np.array([0] * 8_000 + [1] * 1_990 + [2] * 10)
    rows = stratified(labels, 1_000, seed=3)
    assert np.bincount(labels[rows]).tolist() == [800, 199, 2]
    assert (np.diff(rows) > 0).all()
    assert (stratified(labels, 1_000, seed=3) == rows).all()
    assert (stratified(labels, 1_000, seed=4) != rows).any()


def test_what_cannot_be_scored_is_refused() -> None:
    features, labels = planted(30)
    features[3, 2] = np.nan
    with pytest.raises(ValueError, match="no numbers"):
        transferability(features, labels)
