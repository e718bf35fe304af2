"""A BERT training step on the CPU before and after ``thinned.convert``, and after ``thinned.address``.

Random weights, dropout 0.1 as published. Variants take turns, so that other load on the machine meets them alike; the
figures are medians and bests of step times, and ratios of them.

    python benchmarks/convert.py [--layers 4] [--hidden 256] [--batch 8] [--length 128] [--threads N] [--cpu-time]
"""

import argparse
import statistics
import time
import warnings

import torch

import thinned

CLOCK = time.perf_counter


def build(options: argparse.Namespace, attention: str) -> torch.nn.Module:
    from transformers import BertConfig, BertForMaskedLM  # noqa: PLC0415

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=2000,
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64,
        intermediate_size=4 * options.hidden,
    )
    config._attn_implementation = attention
    return BertForMaskedLM(config).train()


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, ids: torch.Tensor) -> float:
    start = CLOCK()
    optimizer.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    return CLOCK() - start


def compare(options: argparse.Namespace, attention: str) -> None:
    models = {name: build(options, attention) for name in ("torch", "converted", "addressed", "without dropout")}
    thinned.convert(models["converted"])
    thinned.address(models["addressed"], seed=7)
    for module in models["without dropout"].modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    ids = torch.randint(2000, (options.batch, options.length))
    optimizers = {name: torch.optim.AdamW(model.parameters(), fused=True) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(options.steps + 2):
        for name, model in models.items():
            seconds = step(model, optimizers[name], ids)
            if turn >= 2:
                times[name].append(seconds)
    print(f"BERT {options.layers} x {options.hidden}, batch {options.batch} x {options.length}, attention {attention}")
    for name, values in times.items():
        median, best = statistics.median(values), min(values)
        ratios = statistics.median(times["torch"]) / median, min(times["torch"]) / best
        print(
            f"  {name:16s} median {1000 * median:7.1f} ms, best {1000 * best:7.1f} ms"
            f"   torch / this: {ratios[0]:5.2f} of medians, {ratios[1]:5.2f} of bests"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 4), ("hidden", 256), ("batch", 8), ("length", 128), ("steps", 15), ("threads", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cpu-time", action="store_true", help="time of all threads, little changed by other load")
    options = parser.parse_args()
    if options.cpu_time:
        globals()["CLOCK"] = time.process_time
    warnings.filterwarnings("ignore")
    if options.threads:
        torch.set_num_threads(options.threads)
    for attention in ("sdpa", "eager"):
        compare(options, attention)


if __name__ == "__main__":
    main()
