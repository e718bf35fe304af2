"""Copies, replicas, workers and saved weights of converted and addressed models."""

import copy
import json
import pickle
import struct
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import thinned
from thinned import masks, philox
from thinned.conversion import plain_state_dict

ONES = torch.ones(1, 64)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line, self.drop = nn.Linear(64, 64, bias=False), nn.Dropout(0.5)
        nn.init.eye_(self.line.weight)

    def forward(self, x):
        return F.dropout(self.drop(self.line(x)), 0.25, self.training)


def make(seed=7, **options):
    model = Net()
    thinned.address(model, seed, **options)
    return model


def mask(out):
    return tuple((out != 0).flatten().tolist())


def shallow(module):
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied


def replica(module):
    return module._replicate_for_data_parallel()


class TestOwnWeights:
    @pytest.mark.parametrize("copied", [shallow, replica])
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, Net])
    def test_a_copy_runs_with_its_own(self, copied, training, kind):
        torch.manual_seed(0)
        model = nn.ModuleDict({"inner": Net() if kind is Net else kind(64, 64, 2, dropout=1e-9)})
        thinned.convert(model)
        other = copied(model["inner"])
        if kind is Net:
            other._modules["line"] = nn.Linear(64, 64, bias=False)
            nn.init.constant_(other._modules["line"].weight, 0)
            assert not other.train(training)(ONES).any()
            return
        other.__dict__["_flat_weights"] = [torch.zeros_like(w) for w in model["inner"]._flat_weights]
        assert not other.train(training)(ONES)[0].any()

    def test_attention(self):
        model = nn.MultiheadAttention(8, 2, dropout=0.5)
        thinned.convert(model)
        other = shallow(model)
        other._parameters = {n: p if p is None else torch.zeros_like(p) for n, p in model._parameters.items()}
        other.out_proj = nn.Linear(8, 8)
        nn.init.constant_(other.out_proj.weight, 0)
        nn.init.constant_(other.out_proj.bias, 3)
        x = torch.randn(3, 2, 8)
        assert torch.equal(other(x, x, x)[0], torch.full((3, 2, 8), 3.0))

    def test_replicas_of_an_addressed_model_do_not_train(self):
        model = make()
        with pytest.raises(RuntimeError, match=r"must not train in replicas.*; got a replica of nn.DataParallel; use"):
            replica(model)(ONES)
        assert torch.equal(replica(model).eval()(ONES), ONES)


class TestAveraged:
    def run(self, use_buffers, views=2, steps=10, seed=None):
        student = make()
        teacher = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=use_buffers).train()
        if seed is not None:
            thinned.address(teacher.module, seed)
        students, teachers = [], []
        for _ in range(steps):
            students.append(mask(student(ONES)))
            teachers += [mask(teacher(ONES)) for _ in range(views)]
            teacher.update_parameters(student)
        return student, teacher, students, teachers

    @pytest.mark.parametrize("use_buffers", [True, False])
    @pytest.mark.parametrize("seed", [None, 8])
    def test_no_mask_twice(self, use_buffers, seed):
        student, _, students, teachers = self.run(use_buffers, seed=seed)
        assert len(set(students + teachers)) == len(students + teachers)
        assert student.thinned_clock.item() == len(students)

    def test_its_masks_have_addresses(self):
        *_, teachers = self.run(use_buffers=True)
        seed = philox.fold_in(7, philox.site_number("copy 1"))
        key = [philox.fold_in(seed, philox.site_number(name)) for name in ("drop", "")]
        for call, seen in enumerate(teachers):
            kept = masks.keep_mask((1, 64), 0.5, key[0], call) & masks.keep_mask((1, 64), 0.25, key[1], call)
            assert seen == mask(kept)

    def test_each_copy_has_its_own(self):
        student = make()
        teachers = [AveragedModel(student).train() for _ in range(3)]
        assert len({mask(m(ONES)) for m in (student, *teachers)}) == 4
        nested = AveragedModel(teachers[0].module).train()
        assert mask(nested(ONES)) != mask(teachers[0](ONES))

    def test_a_run_repeats(self):
        assert self.run(use_buffers=True)[3] == self.run(use_buffers=True)[3]

    def test_loading_sets_the_clock_back(self):
        _, teacher, *_ = self.run(use_buffers=False)
        state = copy.deepcopy(teacher.state_dict())
        expected = mask(teacher(ONES))
        teacher(ONES)
        teacher.load_state_dict(state)
        assert mask(teacher(ONES)) == expected

    def test_a_plain_deep_copy_goes_on_with_the_same_masks(self):
        student = make()
        assert mask(copy.deepcopy(student)(ONES)) == mask(student(ONES))


class Augmented(torch.utils.data.Dataset):
    def __init__(self, model):
        self.model = model

    def __len__(self):
        return 24

    def __getitem__(self, index):
        with torch.no_grad():
            return self.model(ONES)[0]


class Streamed(torch.utils.data.IterableDataset):
    def __init__(self, model):
        self.model = model

    def __iter__(self):
        with torch.no_grad():
            for _ in range(12):
                yield self.model(ONES)[0]


@pytest.mark.filterwarnings("ignore")
class TestWorkers:
    @pytest.mark.parametrize("dataset", [Augmented, Streamed])
    @pytest.mark.parametrize("persistent", [True, False])
    def test_masks_differ_and_runs_repeat(self, dataset, persistent):
        model = make()

        def rows():
            loader = torch.utils.data.DataLoader(
                dataset(model), 4, num_workers=2, persistent_workers=persistent, multiprocessing_context="fork"
            )
            return [mask(row) for batch in loader for row in batch]

        first = rows()
        assert len(set(first)) == len(first) == 24
        assert rows() == first
        assert model.thinned_clock.item() == 0

    def test_shared_memory_is_left_alone(self):
        """As under spawn, where all processes have the same clock in shared memory."""
        model = make().share_memory()
        loader = torch.utils.data.DataLoader(Augmented(model), 4, num_workers=3, multiprocessing_context="fork")
        rows = [mask(row) for batch in loader for row in batch]
        assert len(set(rows)) == 24
        assert model.thinned_clock.item() == 0

    def test_none_but_the_models_own_process(self):
        model = make()
        rows = [mask(row) for batch in torch.utils.data.DataLoader(Augmented(model), 4) for row in batch]
        assert len(set(rows)) == 24
        assert model.thinned_clock.item() == 24


class TestSaved:
    def test_weights_load_into_a_plain_model(self):
        model = make()
        model(ONES)
        state = plain_state_dict(model)
        plain = Net()
        plain.load_state_dict(state, strict=True)
        assert state.keys() == plain.state_dict().keys()
        assert plain_state_dict(nn.Sequential(model)).keys() == nn.Sequential(Net()).state_dict().keys()
        assert plain_state_dict(plain).keys() == plain.state_dict().keys()

    def test_the_clock_can_be_given(self):
        model = make()
        for _ in range(3):
            model(ONES)
        again = make(clock=3)
        assert again.thinned_clock.dtype == torch.int64
        assert mask(again(ONES)) == mask(model(ONES))
        for clock in (-1, 0.5, True):
            with pytest.raises(ValueError, match="clock must be an int that is not negative; got clock="):
                make(clock=clock)

    def test_a_folder_with_a_clock_is_told_of(self, tmp_path):
        """The file format of safetensors: length and JSON of the header, then the tensors."""
        header = {"thinned_clock": {"dtype": "I64", "shape": [], "data_offsets": [4, 12]}}
        text = json.dumps({"w": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}} | header).encode()
        content = struct.pack("<Q", len(text)) + text + struct.pack("<fq", 1.0, 41)
        (tmp_path / "model-00001-of-00001.safetensors").write_bytes(content)
        model = Net()
        model.name_or_path = str(tmp_path)
        with pytest.warns(UserWarning, match=r"the clock starts at 0, .*were saved with a clock of 41.*pass clock=41"):
            thinned.address(model, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            thinned.address(model, 1, clock=41)
            thinned.address(model, 1, clock=0)
            model.name_or_path = "a-name/on-the-hub"
            thinned.address(model, 1)

    @pytest.mark.filterwarnings("ignore")
    def test_transformers(self, tmp_path):
        transformers = pytest.importorskip("transformers")
        size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
        model = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=20, **size)).train()
        thinned.address(model, 1)
        ids = torch.arange(12).reshape(2, 6)
        model(ids)
        model.save_pretrained(tmp_path)
        loaded = transformers.BertForMaskedLM.from_pretrained(tmp_path).train()
        with pytest.warns(UserWarning, match="were saved with a clock of 1"):
            thinned.address(loaded, 1)
        thinned.address(loaded, 1, clock=1)
        assert torch.equal(loaded(ids).logits, model(ids).logits)

    def test_classes_survive_pickling(self):
        model = pickle.loads(pickle.dumps(make()))
        assert type(model).__name__ == "Net"
        assert isinstance(model, Net)
        assert mask(model(ONES)) == mask(make()(ONES))


def test_the_class_of_a_wrapped_module_is_in_no_registry_and_runs_without_its_wrapper():
    registry = {}

    class Registered(nn.Module):
        def __init_subclass__(cls, *, key):
            registry[key] = cls

    class Mine(Registered, key="mine"):
        def forward(self, x):
            return F.dropout(x, 0.5, self.training)

    model = Mine()
    thinned.address(model, 3)
    assert registry == {"mine": Mine}
    forward = type(model).forward
    assert torch.equal(forward(Mine().eval(), ONES), ONES)


def test_a_second_address_forgets_the_copies_of_the_first():
    model, fresh = make(), make()
    first, again = AveragedModel(model), AveragedModel(fresh)
    thinned.address(model, 7)
    second = AveragedModel(model)
    assert mask(second.module(ONES)) == mask(again.module(ONES)) == mask(first.module(ONES))
