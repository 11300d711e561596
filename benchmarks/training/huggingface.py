"""The baseline: Hugging Face's Trainer, used as in its speech-recognition examples.

After `examples/pytorch/speech-recognition/run_speech_recognition_{ctc,seq2seq}.py` of transformers: every file is
decoded and its features are computed per item before training (the examples' `prepare_dataset`), batches are put
together by the examples' collators, CTC training groups by length, evaluation is `Trainer.predict` with
`compute_metrics`. One difference favours the baseline: prepared items stay in memory, where the examples read them back
from Arrow files.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile
import torch
from transformers import (
    AutoModelForCTC,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging

from benchmarks.training.outcome import Outcome, Recipe

Item = dict[str, Any]


@dataclass
class DataCollatorCTCWithPadding:
    """The CTC example's collator."""

    processor: Any

    def __call__(self, features: list[Item]) -> Any:
        inputs = [{"input_values": feature["input_values"]} for feature in features]
        labels = [{"input_ids": feature["labels"]} for feature in features]
        batch = self.processor.pad(inputs, padding=True, return_tensors="pt")
        padded = self.processor.pad(labels=labels, padding=True, return_tensors="pt")
        batch["labels"] = padded["input_ids"].masked_fill(padded.attention_mask.ne(1), -100)
        return batch


@dataclass
class DataCollatorSpeechSeq2SeqWithPadding:
    """The sequence-to-sequence example's collator."""

    processor: Any
    decoder_start_token_id: int

    def __call__(self, features: list[Item]) -> Any:
        inputs = [{"input_features": feature["input_features"]} for feature in features]
        labels = [{"input_ids": feature["labels"]} for feature in features]
        batch = self.processor.feature_extractor.pad(inputs, return_tensors="pt")
        padded = self.processor.tokenizer.pad(labels, return_tensors="pt")
        targets = padded["input_ids"].masked_fill(padded.attention_mask.ne(1), -100)
        if (targets[:, 0] == self.decoder_start_token_id).all().cpu().item():
            targets = targets[:, 1:]
        batch["labels"] = targets
        return batch


def quiet() -> None:
    """Leaves the terminal to the figures."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


@dataclass
class Example:
    """One of the two examples, on a model and a manifest.

    Attributes:
        base: Folder of the model.
        manifest: JSONL beside its audio files.
    """

    base: Path
    manifest: Path
    recipe: Recipe
    ctc: bool

    def train(self, **arguments: Any) -> Outcome:
        """From the files on disk to the last step; `arguments` go to the training arguments."""
        torch.manual_seed(self.recipe.seed)
        began = time.perf_counter()
        processor, model = self._load()
        rows, items = self._prepared(processor, "train")
        with tempfile.TemporaryDirectory() as folder:
            trainer = self._trainer(processor, model, folder, items, arguments)
            steps = trainer.train().metrics["train_runtime"]
        seconds = time.perf_counter() - began
        heard = sum(row["seconds"] for row in rows) * self.recipe.epochs
        return Outcome(seconds, heard, trainer.model, steps)

    def evaluate(self, split: str, model: Any = None) -> tuple[float, float]:
        """Utterances per second from files on disk to the word error rate, and the rate.

        Args:
            split: Rows of the manifest.
            model: What was trained; else the base is evaluated.
        """
        began = time.perf_counter()
        processor, base = self._load()
        rows, items = self._prepared(processor, split)
        with tempfile.TemporaryDirectory() as folder:
            trainer = self._trainer(processor, model or base, folder, items, {})
            wer = trainer.predict(items).metrics["test_wer"]
        return len(rows) / (time.perf_counter() - began), wer

    def _load(self) -> tuple[Any, Any]:
        auto = AutoModelForCTC if self.ctc else AutoModelForSpeechSeq2Seq
        model = auto.from_pretrained(self.base)
        if self.ctc:
            model.freeze_feature_encoder()
        processor = AutoProcessor.from_pretrained(self.base)
        if processor.tokenizer.pad_token is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token  # as Whisper's checkpoints have it
        return processor, model

    def _prepared(self, processor: Any, split: str) -> tuple[list[Item], list[Item]]:
        rows = [json.loads(line) for line in self.manifest.read_text(encoding="utf-8").splitlines()]
        rows = [row for row in rows if row["split"] == split]
        items = []
        for row in rows:
            samples, rate = soundfile.read(self.manifest.parent / row["audio"], dtype="float32")
            row["seconds"] = len(samples) / rate
            inputs = processor.feature_extractor(samples, sampling_rate=rate)
            name = processor.feature_extractor.model_input_names[0]
            items.append({name: inputs[name][0], "labels": processor.tokenizer(row["text"]).input_ids})
        return rows, items

    def _trainer(self, processor: Any, model: Any, folder: str, items: Sequence[Item], extra: Any) -> Any:
        recipe = self.recipe
        steps = -(-len(items) // recipe.batch_size) * recipe.epochs
        arguments = {
            "output_dir": folder,
            "per_device_train_batch_size": recipe.batch_size,
            "per_device_eval_batch_size": recipe.batch_size,
            "num_train_epochs": recipe.epochs,
            "learning_rate": recipe.learning_rate,
            "warmup_steps": -(-steps // 10),
            "weight_decay": 0.01,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "logging_strategy": "no",
            "seed": recipe.seed,
            "remove_unused_columns": False,
            "use_cpu": not torch.cuda.is_available(),
            **extra,
        }
        if self.ctc:
            trainer = Trainer(
                model=model,
                args=TrainingArguments(train_sampling_strategy="group_by_length", **arguments),
                data_collator=DataCollatorCTCWithPadding(processor),
                train_dataset=items,
                compute_metrics=lambda prediction: _ctc_wer(processor, prediction),
                processing_class=processor,
            )
        else:
            trainer = Seq2SeqTrainer(
                model=model,
                args=Seq2SeqTrainingArguments(predict_with_generate=True, **arguments),
                data_collator=DataCollatorSpeechSeq2SeqWithPadding(processor, model.config.decoder_start_token_id),
                train_dataset=items,
                compute_metrics=lambda prediction: _seq2seq_wer(processor, prediction),
                processing_class=processor.feature_extractor,
            )
        trainer.remove_callback(PrinterCallback)
        return trainer


def _ctc_wer(processor: Any, prediction: Any) -> dict[str, float]:
    ids = np.argmax(prediction.predictions, axis=-1)
    labels = np.where(prediction.label_ids == -100, processor.tokenizer.pad_token_id, prediction.label_ids)
    said = processor.batch_decode(ids)
    wanted = processor.batch_decode(labels, group_tokens=False)
    return {"wer": jiwer.wer(wanted, said)}


def _seq2seq_wer(processor: Any, prediction: Any) -> dict[str, float]:
    tokenizer = processor.tokenizer
    labels = np.where(prediction.label_ids == -100, tokenizer.pad_token_id, prediction.label_ids)
    said = tokenizer.batch_decode(prediction.predictions, skip_special_tokens=True)
    wanted = tokenizer.batch_decode(labels, skip_special_tokens=True)
    return {"wer": jiwer.wer([text.strip() for text in wanted], [text.strip() for text in said])}
