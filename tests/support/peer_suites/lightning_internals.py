"""Tests of Lightning that look at what Holdfast has to change, so that they cannot pass; `docs/integrations/lightning.md` has them."""

_SET_EPOCH = "counts the calls of a sampler's set_epoch: with us each epoch has two, with the same number"
_SHUTDOWN = "counts the calls that end the loader's persistent workers: with us they are ended once"
_ONE_SHOT = "trains on a generator, which no resume could read again: refused"
_NOT_FIRST = "pretends, in a single process, not to be process 0"
_MOCK = "has a mock as callback, whose `state_key` is no text: refused"
_CLASS = "has a class as a callback's `state_key`, as before Lightning 1.5: refused"
_OWN_ITERATOR = (
    "trains on a loader that is its own iterator, and may be one that can be read only once: refused"
)
_PROXY = "asks, within the fit, whether the trainer's loader is of its class: ours stands in a proxy"
_CLOCK = "replaces time.perf_counter by a list of times, as many as Lightning asks for: we ask for it, too"
_SAVE = "replaces torch.save by a mock and counts its calls: bundles are not written by it"
_STORAGE = (
    "replaces TorchCheckpointIO.save_checkpoint by a mock, and passes storage options, which bundles have not"
)

OF_CALLBACK: dict[str, str] = {
    "loops/test_evaluation_loop.py::test_evaluation_loop_sampler_set_epoch_called": _SET_EPOCH,
    "loops/test_loops.py::test_workers_are_shutdown[True-False]": _SHUTDOWN,
    "loops/test_loops.py::test_workers_are_shutdown[True-True]": _SHUTDOWN,
    "loops/test_training_loop.py::test_tqdm_total_steps_with_iterator_no_length": _ONE_SHOT,
    "callbacks/progress/test_tqdm_progress_bar.py::test_tqdm_progress_bar_disabled_when_not_rank_zero": _NOT_FIRST,
    "callbacks/test_callbacks.py::test_callbacks_configured_in_model": _MOCK,
    "callbacks/test_callbacks.py::test_configure_callbacks_hook_multiple_calls": _MOCK,
    "callbacks/test_callbacks.py::test_resume_callback_state_saved_by_type_stateful": _CLASS,
    "callbacks/test_throughput_monitor.py::test_throughput_monitor_fit": _CLOCK,
    "callbacks/test_throughput_monitor.py::test_throughput_monitor_fit_with_validation": _CLOCK,
    "callbacks/test_throughput_monitor.py::test_throughput_monitor_fit_gradient_accumulation": _CLOCK,
    "callbacks/test_throughput_monitor.py::test_throughput_monitor_variable_batch_size": _CLOCK,
    "callbacks/test_throughput_monitor.py::test_throughput_monitor_validation_with_many_epochs": _CLOCK,
    "trainer/test_dataloaders.py::test_request_dataloader": _PROXY,
    "trainer/test_dataloaders.py::test_train_dataloader_not_implemented_error": _OWN_ITERATOR,
}
OF_IO: dict[str, str] = {
    "checkpointing/test_checkpoint_callback_frequency.py::test_default_checkpoint_freq": _SAVE,
    "checkpointing/test_checkpoint_callback_frequency.py::test_top_k": _SAVE,
    "checkpointing/test_trainer_checkpoint.py::test_trainer_save_checkpoint_storage_options": _STORAGE,
}


def table() -> str:
    """What the page has; this file prints it as a script."""
    rows = [f"| `{test}` | {reason} |" for test, reason in (OF_CALLBACK | OF_IO).items()]
    return "\n".join(["| test | what it does |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
