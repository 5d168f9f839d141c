"""A generator and a discriminator of small images, in the manner of PyTorch's DCGAN tutorial.

    python dcgan.py REPORT    # the final weights and numbers go to REPORT, as JSON

The images are soft discs of random places and sizes.
"""

import hashlib
import json
import random
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

manualSeed = 999
random.seed(manualSeed)
torch.manual_seed(manualSeed)
torch.set_num_threads(1)

batch_size, nz, ngf, ndf = 32, 16, 8, 8
num_epochs, lr, beta1 = 5, 0.002, 0.5
real_label, fake_label = 1.0, 0.0


def discs(n):
    at = torch.linspace(-1, 1, 16)
    x, y, radius = (torch.rand(3, n, 1, 1) - 0.5) * torch.tensor([1.0, 1.0, 0.4]).view(3, 1, 1, 1)
    distance = ((at.view(1, 1, -1) - x) ** 2 + (at.view(1, -1, 1) - y) ** 2).sqrt()
    return torch.tanh(8 * (radius + 0.5 - distance)).unsqueeze(1)


def weights_init(m):
    if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(m.weight, 0.0, 0.05)
    elif isinstance(m, nn.BatchNorm2d):
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


dataloader = DataLoader(TensorDataset(discs(640)), batch_size=batch_size, shuffle=True)
netG = nn.Sequential(
    nn.ConvTranspose2d(nz, ngf * 2, 4, 1, 0, bias=False),
    nn.BatchNorm2d(ngf * 2),
    nn.ReLU(True),
    nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
    nn.BatchNorm2d(ngf),
    nn.ReLU(True),
    nn.ConvTranspose2d(ngf, 1, 4, 2, 1, bias=False),
    nn.Tanh(),
)
netD = nn.Sequential(
    nn.Conv2d(1, ndf, 4, 2, 1, bias=False),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False),
    nn.BatchNorm2d(ndf * 2),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(ndf * 2, 1, 4, 1, 0, bias=False),
    nn.Sigmoid(),
)
netG.apply(weights_init)
netD.apply(weights_init)

criterion = nn.BCELoss()
fixed_noise = torch.randn(16, nz, 1, 1)
optimizerD = torch.optim.Adam(netD.parameters(), lr=lr, betas=(beta1, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=lr, betas=(beta1, 0.999))

img_list = []
G_losses = []
D_losses = []
iters = 0

for epoch in range(num_epochs):
    for i, data in enumerate(dataloader):
        # the discriminator: real ones, then fakes
        netD.zero_grad()
        real = data[0]
        label = torch.full((real.size(0),), real_label)
        output = netD(real).view(-1)
        errD_real = criterion(output, label)
        errD_real.backward()
        D_x = output.mean().item()

        noise = torch.randn(real.size(0), nz, 1, 1)
        fake = netG(noise)
        label.fill_(fake_label)
        output = netD(fake.detach()).view(-1)
        errD_fake = criterion(output, label)
        errD_fake.backward()
        errD = errD_real + errD_fake
        optimizerD.step()

        # the generator: its fakes should pass as real
        netG.zero_grad()
        label.fill_(real_label)
        output = netD(fake).view(-1)
        errG = criterion(output, label)
        errG.backward()
        optimizerG.step()

        if i % 10 == 0:
            print(
                f"[{epoch}/{num_epochs}][{i}/{len(dataloader)}] D {errD.item():.3f} G {errG.item():.3f} D(x) {D_x:.3f}"
            )
        G_losses.append(errG.item())
        D_losses.append(errD.item())
        if iters % 25 == 0 or (epoch == num_epochs - 1 and i == len(dataloader) - 1):
            with torch.no_grad():
                img_list.append(netG(fixed_noise))
        iters += 1

states = [*netG.state_dict().values(), *netD.state_dict().values()]
weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in states)).hexdigest()
images = [hashlib.sha256(img.numpy().tobytes()).hexdigest() for img in img_list]
report = {"weights": weights, "images": images, "iters": iters, "G_losses": G_losses, "D_losses": D_losses}
Path(sys.argv[1]).write_text(json.dumps(report))
