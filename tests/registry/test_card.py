import yaml

from gb_ray.registry.card import card

MANIFEST = {
    "name": "weather",
    "run_id": "r1",
    "corpus_digest": "c" * 64,
    "corpus": {"train": 80, "test": 20},
    "recipe": {"model": {"path": "org/base"}},
    "weights_sha256": "a" * 64,
    "tasks": {"tone": {"type": "sequence-classification", "labels": ["bad", "good"]}},
    "metrics": {"test": {"tone": {"accuracy": 0.91234, "confusion": [[1]]}}},
    "before": {"test": {"tone": {"accuracy": 0.5}}},
}


def test_it_says_what_is_known():
    text = card(MANIFEST)
    front = yaml.safe_load(text.split("---")[1])
    assert front["pipeline_tag"] == "text-classification"
    assert "| test | tone | accuracy | 0.5 | 0.9123 |" in text
    assert "confusion" not in text
    assert "`bad`, `good`" in text and "Samples in train: 80" in text and "`org/base`" in text
    assert "AutoModelForSequenceClassification" in text and "models:/weather@champion" in text


def test_it_says_what_is_not():
    text = card({"name": "n", "tasks": {"t": {"type": "token-classification", "labels": []}}})
    assert text.count("not recorded") >= 6
    assert "Not recorded." in text and "quality is unknown" in text


def test_it_says_how_vectors_are_made():
    text = card(MANIFEST | {"tasks": {"near": {"type": "embedding", "labels": []}}})
    assert yaml.safe_load(text.split("---")[1])["pipeline_tag"] == "sentence-similarity"
    assert "import AutoModel, AutoTokenizer" in text and "the mean of `last_hidden_state`" in text
    assert "last_hidden_state" not in card(MANIFEST)


def test_it_says_what_the_model_went_on_from_and_forgot():
    origin = {"from": {"uri": "models:/weather/3", "replay": 0.2}}
    lost = {"before": 0.91, "after": 0.87, "difference": -0.04, "interval": [-0.06, -0.02]}
    text = card(MANIFEST | origin | {"forgetting": {"accuracy": lost}})
    assert "before is the model it went on from" in text and "`models:/weather/3`" in text
    assert "| accuracy | 0.91 | 0.87 | -0.04 | -0.06 to -0.02 |" in text
    assert "was not measured" in card(MANIFEST | origin) and "went on from" not in card(MANIFEST)


def test_it_says_how_sure_a_metric_and_a_probability_are():
    known = {"intervals": {"test": {"tone": {"accuracy": [0.88, 0.93]}}}}
    fitted = {"temperature": 0.72, "test_ece": {"before": 0.11, "after": 0.013}}
    text = card(MANIFEST | known | {"calibration": {"tone": fitted}})
    assert "| accuracy | 0.5 | 0.9123 | 0.88 to 0.93 |" in text
    assert "validation, 0.72: the calibration error on test is 0.013" in text and "not calibrated" not in text
    assert "not calibrated" in card(MANIFEST)
