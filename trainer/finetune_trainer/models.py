"""Base checkpoints and the trial models made from them.

A base is read once per process; each trial gets a fresh copy of its weights, with that trial's dropout, SpecAugment,
frozen parts or low-rank adapters.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from .contract import ModelRef
from .errors import BadConfigError
from .frontend import attach, detach
from .hyperparameters import Hyperparameters

Family = Literal["seq2seq", "ctc"]
ANY_LENGTH_SECONDS = 60.0
"""Longest clip for models that set no limit: attention grows with its square, so that ten minutes fill a machine."""
_ARTIFACT = "wandb-artifact://"
_DROPOUTS = (
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "hidden_dropout",
    "feat_proj_dropout",
    "final_dropout",
)
_ATTENTION_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj", "linear_q", "linear_k", "linear_v", "linear_out")


@dataclass(frozen=True)
class Base:
    """A checkpoint as loaded: its weights are never changed.

    Attributes:
        name: As configured.
        family: `seq2seq` decodes token by token, `ctc` frame by frame.
        config: The `transformers` configuration.
        weights: State dict on the CPU.
        generation: Generation configuration of a `seq2seq` model.
        feature_extractor, tokenizer: The processor's two halves.
        artifact: `entity/project/name:version` when the checkpoint came from a W&B artifact.
        precomputed: Models are built without their convolutions and take the output of these, see `frontend`.
    """

    name: str
    family: Family
    model_class: Any
    config: Any
    weights: dict[str, torch.Tensor] = field(repr=False)
    generation: Any
    processor: Any
    feature_extractor: Any
    tokenizer: Any
    artifact: str | None = None
    precomputed: bool = False

    @property
    def sampling_rate(self) -> int:
        """Rate in Hz that the model hears."""
        return int(getattr(self.feature_extractor, "sampling_rate", 16000))

    @property
    def is_whisper(self) -> bool:
        """Whisper's encoder takes log-mel frames of one fixed number."""
        return bool(self.config.model_type == "whisper")

    @property
    def input_frames(self) -> int | None:
        """Frames that the encoder asks for: two per source position; None for models of any length.

        It is the configuration, not the 30 s of the original, that decides: a checkpoint with fewer positions hears
        shorter clips and costs less.
        """
        return 2 * int(self.config.max_source_positions) if self.is_whisper else None

    @property
    def max_seconds(self) -> float:
        """Longest clip that is used: what the model hears in full, or `ANY_LENGTH_SECONDS`."""
        if self.input_frames is None:
            return ANY_LENGTH_SECONDS
        return float(self.input_frames * self.feature_extractor.hop_length / self.sampling_rate)

    def shortened(self, seconds: int) -> Base:
        """The same checkpoint for shorter inputs: with the first of its encoder's positions only.

        Args:
            seconds: Length of the input.

        Raises:
            BadConfigError: The model's input has no fixed length, or is shorter already.
        """
        if not self.is_whisper:
            raise BadConfigError("hyperparameters.input_seconds is for Whisper models; leave it out.")
        if seconds > self.max_seconds:
            raise BadConfigError(
                f"hyperparameters.input_seconds {seconds} is more than the model's {self.max_seconds:.1f}; lower it."
            )
        config, extractor = copy.deepcopy(self.config), copy.deepcopy(self.feature_extractor)
        config.max_source_positions = seconds * self.sampling_rate // (2 * extractor.hop_length)
        # Whoever loads the result pads to `chunk_length`, so it must say what the encoder expects.
        extractor.chunk_length = seconds
        extractor.n_samples = seconds * self.sampling_rate
        extractor.nb_max_frames = extractor.n_samples // extractor.hop_length
        weights = {
            name: tensor[: config.max_source_positions] if name.endswith("encoder.embed_positions.weight") else tensor
            for name, tensor in self.weights.items()
        }
        processor = type(self.processor)(feature_extractor=extractor, tokenizer=self.tokenizer)
        return dataclasses.replace(
            self, config=config, weights=weights, feature_extractor=extractor, processor=processor
        )

    def build(self, hyperparameters: Hyperparameters | None = None, seed: int = 0) -> Any:
        """A model with the base's weights, in float32 on the CPU.

        Args:
            hyperparameters: What to vary; None gives the untouched model.
            seed: Initialises adapters.

        Raises:
            BadConfigError: The model has no part that a hyperparameter asks for.
        """
        config = copy.deepcopy(self.config)
        if hyperparameters is not None:
            _regularise(config, hyperparameters)
        weights = {name: tensor.clone() for name, tensor in self.weights.items()}  # from_pretrained adopts the tensors
        model = self.model_class.from_pretrained(None, config=config, state_dict=weights, dtype=torch.float32)
        if self.generation is not None:
            model.generation_config = copy.deepcopy(self.generation)
        if hyperparameters is not None:
            if hyperparameters.freeze_encoder:
                _freeze_encoder(model, self.family)
            elif hyperparameters.freeze_feature_encoder and hasattr(model, "freeze_feature_encoder"):
                model.freeze_feature_encoder()
        if self.precomputed:
            detach(model)
        if hyperparameters is not None and hyperparameters.lora_rank:
            torch.manual_seed(seed)
            model = _with_adapters(model, hyperparameters)
        return model


def load_base(ref: ModelRef, download_artifact: Callable[[str], tuple[str, str]] | None = None) -> Base:
    """Reads a checkpoint from a path, the hub or a W&B artifact.

    Raises:
        BadConfigError: There is no such checkpoint, or it is no speech-to-text model.
    """
    name, artifact = ref.name.removeprefix("file://"), None
    if name.startswith(_ARTIFACT):
        if download_artifact is None:
            raise BadConfigError(
                f"model.name {name} needs the tracker; set tracking.enabled and tracking.mode: online."
            )
        name, artifact = download_artifact(name.removeprefix(_ARTIFACT))
    from transformers import AutoConfig, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoProcessor

    try:
        config = AutoConfig.from_pretrained(name, revision=ref.revision)
        family = family_of(config)
        auto = AutoModelForCTC if family == "ctc" else AutoModelForSpeechSeq2Seq
        processor = AutoProcessor.from_pretrained(name, revision=ref.revision)
        model = auto.from_pretrained(name, revision=ref.revision, dtype=torch.float32)
    except (OSError, ValueError, KeyError, ImportError) as error:
        lines = str(error).strip().splitlines()
        raise BadConfigError(
            f"model.name {ref.name!r} cannot be loaded: {(lines[0] if lines else repr(error))[:300]}"
        ) from error
    return Base(
        name=ref.name,
        family=family,
        model_class=type(model),
        config=model.config,
        weights={key: tensor.detach() for key, tensor in model.state_dict().items()},
        generation=getattr(model, "generation_config", None) if family == "seq2seq" else None,
        processor=processor,
        feature_extractor=processor.feature_extractor,
        tokenizer=processor.tokenizer,
        artifact=artifact,
    )


def family_of(config: Any) -> Family:
    """Tells from a configuration which of the two families a checkpoint belongs to.

    Raises:
        BadConfigError: It is neither.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CTC_MAPPING_NAMES,
        MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    )

    if config.model_type in MODEL_FOR_CTC_MAPPING_NAMES:
        return "ctc"
    if config.model_type in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
        return "seq2seq"
    raise BadConfigError(
        f"model.name: a {config.model_type!r} model is neither a CTC nor a sequence-to-sequence speech model; "
        "use a Whisper or wav2vec2/HuBERT-like checkpoint."
    )


def merged(model: Any, base: Base) -> Any:
    """What a user loads and serves: adapters folded into the weights, the configuration as the base has it."""
    model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    if base.precomputed:
        attach(model)
    for name in (*_DROPOUTS, "layerdrop", "apply_spec_augment", "mask_time_prob"):
        if hasattr(base.config, name):
            setattr(model.config, name, getattr(base.config, name))
    return model


def plain(model: Any) -> Any:
    """The `transformers` model under an adapter wrapper, if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _regularise(config: Any, hyperparameters: Hyperparameters) -> None:
    if hyperparameters.dropout is not None:
        for name in _DROPOUTS:
            if hasattr(config, name):
                setattr(config, name, hyperparameters.dropout)
    if hasattr(config, "layerdrop"):
        config.layerdrop = 0.0  # skipping layers at random breaks gradient averaging across processes
    if hasattr(config, "apply_spec_augment"):
        config.apply_spec_augment = hyperparameters.spec_augment > 0
        if (
            hyperparameters.spec_augment
        ):  # with a probability of 0 the model would lose the weight that masks are made of
            config.mask_time_prob = hyperparameters.spec_augment
    elif hyperparameters.spec_augment > 0:
        raise BadConfigError(
            f"hyperparameters.spec_augment: {config.model_type!r} models have no SpecAugment; leave it at 0."
        )


def _freeze_encoder(model: Any, family: Family) -> None:
    if family == "ctc":
        model.freeze_base_model()
        return
    for parameter in model.get_encoder().parameters():
        parameter.requires_grad_(False)


def _with_adapters(model: Any, hyperparameters: Hyperparameters) -> Any:
    from peft import LoraConfig, get_peft_model

    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    targets = sorted(present.intersection(_ATTENTION_PROJECTIONS))
    if not targets:
        raise BadConfigError(
            f"hyperparameters.lora_rank: {model.config.model_type!r} models have no known projections; set it to 0."
        )
    head = ["lm_head"] if "lm_head" in present and hasattr(model, "freeze_base_model") else None
    adapters = LoraConfig(
        r=hyperparameters.lora_rank,
        lora_alpha=hyperparameters.lora_alpha,  # type: ignore[arg-type] # peft only divides it by the rank
        lora_dropout=hyperparameters.dropout or 0.0,
        target_modules=targets,
        modules_to_save=head,
    )
    return get_peft_model(model, adapters)
