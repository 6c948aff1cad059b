"""Train a small network and keep each epoch in a registry: python train.py [EPOCHS].

Run it again and it goes on from the latest version. No file is left to lose.
"""

import sys

import torch

from mvc import ModelRegistry, NotFound

FAMILY = "spirals"
PARAMS = {"lr": 0.01, "hidden": 32, "batch": 64}


def spirals(count, seed):
    """Return points on two arms of a spiral, and on which arm each one is."""
    random = torch.Generator().manual_seed(seed)
    arm = torch.arange(count) % 2
    along = torch.rand(count, generator=random) * 3
    angle = along * 3 + arm * torch.pi
    points = torch.stack([along * angle.cos(), along * angle.sin()], 1)
    return points + torch.randn(count, 2, generator=random) * 0.1, arm


def main():
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    registry = ModelRegistry()
    torch.manual_seed(0)
    hidden = PARAMS["hidden"]
    model = torch.nn.Sequential(
        torch.nn.Linear(2, hidden), torch.nn.Tanh(),
        torch.nn.Linear(hidden, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 2),
    )  # fmt: skip
    begin, parents = 0, []
    try:
        latest = registry.resolve(FAMILY)
    except NotFound:
        print("beginning anew")
    else:  # if its bytes cannot be had, that is no reason to begin anew
        model.load_state_dict(registry.load(latest.id))
        begin, parents = latest.lineage["epoch"] + 1, [latest.id]
        print(f"going on from {latest.id}")

    points, arms = spirals(2000, seed=0)
    test_points, test_arms = spirals(500, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), PARAMS["lr"])
    for epoch in range(begin, begin + epochs):
        for batch in torch.randperm(len(points)).split(PARAMS["batch"]):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(points[batch]), arms[batch])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            acc = (model(test_points).argmax(1) == test_arms).float().mean()
        added = registry.save(
            FAMILY,
            model,
            {"acc": acc, "loss": loss.detach()},
            params=PARAMS,
            lineage={"epoch": epoch},
            parents=parents,
        )
        parents = [added.id]
        print(f"{added.id}  acc {acc:.3f}")

    best = registry.tag(f"{FAMILY}@best", "candidate")
    print(f"the best is {best.id}, and has the tag 'candidate'")


if __name__ == "__main__":
    main()
