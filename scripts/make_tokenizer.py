"""Makes the tokenizer of the small π0 (`ript/assets/small_pi0`): the same file every time.

    python scripts/make_tokenizer.py

It is a byte-level BPE of LIBERO's 130 instructions, with PaliGemma's ids for padding, end and begin.
"""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.simulators.libero.benchmark import LiberoBenchmark

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
VOCABULARY = 512


def make_tokenizer() -> Tokenizer:
    """Byte-level BPE: any text can be encoded, LIBERO's words mostly as one token each."""
    instructions = [suite.get_language(i) for suite in map(LiberoBenchmark, SUITES) for i in range(suite.n_tasks)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>", "<bos>", "\n"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(instructions, trainer)
    return tokenizer


def main(folder: Path = DEFAULT_FOLDER) -> None:
    """Writes the file."""
    make_tokenizer().save(str(folder / "tokenizer.json"))


if __name__ == "__main__":
    main()
