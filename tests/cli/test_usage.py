"""Wrong values: the exit code and the text of each error, which is one line.

2 is for what the command line alone shows to be wrong; files are not looked at. 1 is for what files
and the machine show.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import art
from helpers.command import WAIFU2X, waifu2x
from PIL import Image

from waifu2x.cli import main

MODELS = (
    "cunet, fine, swift, upconv_7, upconv_7_photo, realcugan, realcugan_pro, "
    "realesrgan_animevideo, realesrgan_anime, realesrgan"
)
ENGINES = "auto, native, onnx, torch, cuda, vulkan"
FORMATS = "gif, png, jpeg, webp, avif, tiff, bmp, jxl"
EXTENSIONS = ".gif, .png, .jpg, .webp, .avif, .tif, .bmp, .jxl"
LEVELS = "auto, none, conservative, 0, 1, 2, 3 and numbers between, such as 1.5"
WEIGHTS = "it must be a number for each network, such as 0.6,0.4"
SCALE = "it must be a number above 0, for example 2, 1.5 or 0.5"
STRENGTH = "it must be a number from 0 to 1, for example 0.7"
WIDTH = "it must be a whole number above 0, for example 1920"
SIDE = "it must be a whole number of pixels, 1 to 2147483648"
DEVICE = (
    "it must be cpu, a GPU such as cuda:0 or vulkan:0, several such as cuda:0,cuda:1, mps, xpu, or "
    "for engine onnx directml, coreml, openvino or webgpu"
)
TEMPLATE = (
    'must hold {stem} and {ext} once, and {parent} at most once, for example "{stem}_{scale}x{ext}"'
)
SHARD = "it must be K/N, part K of N, with K from 1 to N, for example 3/16"
LARGER = "it must be WIDTHxHEIGHT in pixels, for example 1920x1080"
MEMORY = "it must be a number of bytes, with K, M, G or T, such as 4G"
PROGRESS = "allowed are auto, bar, json, none"
INFO_NETWORKS = "1x 0, 1x 1, 1x 2, 1x 3, 2x none, 2x 0, 2x 1, 2x 2 and 2x 3"
ALL_NETWORKS = "1x 0, 1x 1, 1x 2, 1x 3, 2x none, 2x 0, 2x 1, 2x 2, 2x 3"

#: Exit code 2, in a folder without any file: arguments, and the text after "Error: ".
USAGE = {
    # Size and noise.
    "in.png -s two": f"scale is 'two'; {SCALE}",
    "in.png -s ''": f"scale is ''; {SCALE}",
    "in.png -s 1.2.3": f"scale is '1.2.3'; {SCALE}",
    "in.png -s 1_0": f"scale is '1_0'; {SCALE}",
    "in.png -s 0": f"scale is 0; {SCALE}",
    "in.png -s -1.5": f"scale is -1.5; {SCALE}",
    "in.png -s nan": f"scale is nan; {SCALE}",
    "in.png -s 1e999": f"scale is inf; {SCALE}",
    "in.png -s": "option -s needs a value: -s NUMBER",
    "in.png --width x": f"width is 'x'; {WIDTH}",
    "in.png --width 1.5": f"width is '1.5'; {WIDTH}",
    "in.png --width 0": f"width is 0; {SIDE}",
    "in.png --height x": "height is 'x'; it must be a whole number above 0, for example 1080",
    "in.png --height -3": f"height is -3; {SIDE}",
    "in.png -s 2 --width 9": "-s and --width exclude each other; give a scale or a size",
    "in.png -s 2 --height 9": "-s and --height exclude each other; give a scale or a size",
    "in.png --strength 70": f"strength is 70; {STRENGTH}",
    "in.png --strength -0.5": f"strength is -0.5; {STRENGTH}",
    "in.png --strength nan": f"strength is nan; {STRENGTH}",
    "in.png --strength half": f"strength is 'half'; {STRENGTH}",
    "in.png --color-fix=yes": "option --color-fix takes no value",
    "in.png --colour-fix": "option --colour-fix does not exist; did you mean --color-fix?",
    "in.png -n 4": f"noise '4' is unknown; allowed are {LEVELS}",
    "in.png -n -2": f"noise '-2' is unknown; allowed are {LEVELS}",
    "in.png -n non": f"noise 'non' is unknown (did you mean none?); allowed are {LEVELS}",
    "in.png -n 3.5": f"noise '3.5' is unknown; allowed are {LEVELS}",
    "in.png -n 1.": f"noise '1.' is unknown; allowed are {LEVELS}",
    "in.png -n 1e0": f"noise '1e0' is unknown; allowed are {LEVELS}",
    "in.png -n nan": f"noise 'nan' is unknown; allowed are {LEVELS}",
    "in.png -n -0.5": f"noise '-0.5' is unknown; allowed are {LEVELS}",
    "in.png -n conservative": (
        "model cunet has no noise level 'conservative'; its levels are 0, 1, 2 and 3; choose one "
        "of them, none, or another --model"
    ),
    # Model and engine.
    "in.png -m swinir": f"model 'swinir' is unknown; allowed are {MODELS}",
    "in.png -m esrgan": (
        f"model 'esrgan' is unknown (did you mean realesrgan?); allowed are {MODELS}"
    ),
    "in.png -m realesrgan-x4plus": (
        f"model 'realesrgan-x4plus' is unknown (did you mean realesrgan?); allowed are {MODELS}"
    ),
    "in.png -m cunett": f"model 'cunett' is unknown (did you mean cunet?); allowed are {MODELS}",
    "in.png -m UpConv7": (
        f"model 'UpConv7' is unknown (did you mean upconv_7?); allowed are {MODELS}"
    ),
    "in.png -e nativ": f"engine 'nativ' is unknown (did you mean native?); allowed are {ENGINES}",
    "in.png -e gpu": f"engine 'gpu' is unknown (did you mean cuda?); allowed are {ENGINES}",
    "in.png -e xyz": f"engine 'xyz' is unknown; allowed are {ENGINES}",
    "in.png -d gpu": f"device is 'gpu'; {DEVICE}",
    "in.png -d cuda:x": f"device is 'cuda:x'; {DEVICE}",
    "in.png -e native -d cuda:0": (
        "device is 'cuda:0', and engine native runs on cpu; choose --engine cuda"
    ),
    "in.png -e onnx -d mps": (
        "device is 'mps', and engine onnx runs on cpu, cuda, directml, coreml, openvino or webgpu; "
        "choose --engine torch"
    ),
    "in.png -e cuda -d cpu": (
        "device is 'cpu', and engine cuda runs on cuda; choose --engine native"
    ),
    "in.png -e cuda -d vulkan:0": (
        "device is 'vulkan:0', and engine cuda runs on cuda; choose --engine vulkan"
    ),
    "in.png -e onnx -d cuda:0,cuda:1": (
        "device is 'cuda:0,cuda:1'; engine onnx runs on one device, for example cuda"
    ),
    "in.png -t big": "tile is 'big'; it must be a whole number, 0 for automatic, for example 256",
    "in.png -t 1.5": "tile is '1.5'; it must be a whole number, 0 for automatic, for example 256",
    "in.png -t -1": "tile is -1; it must be 0 for automatic, or a side in px",
    "in.png --threads x": (
        "threads is 'x'; it must be a whole number of at least 1, for example 4"
    ),
    "in.png --threads 0": "threads is 0; it must be a whole number, at least 1, or left out",
    "in.png --tta=1": "option --tta takes no value",
    "in.png --fp32=yes": "option --fp32 takes no value",
    # Output file.
    "in.png -f pcx": f"format 'pcx' is unknown; allowed are {FORMATS}",
    "in.png -f pngg": f"format 'pngg' is unknown (did you mean png?); allowed are {FORMATS}",
    "in.png -q high": (
        "quality is 'high'; it must be a whole number from 1 to 100, for example 90"
    ),
    "in.png -q 0": "quality is 0; it must be a whole number from 1 to 100",
    "in.png -q 101": "quality is 101; it must be a whole number from 1 to 100",
    "in.png -f png -q 90": (
        "quality is 90, and PNG is lossless and has none; leave out --quality, "
        "or write JPEG, WebP, AVIF or JPEG XL"
    ),
    "in.png out.png -q 90": (
        "quality is 90, and PNG is lossless and has none; leave out --quality, "
        "or write JPEG, WebP, AVIF or JPEG XL"
    ),
    "in.png --depth x": "depth is 'x'; it must be 8 or 16 bits per sample",
    "in.png --depth 12": "depth is 12; it must be 8 or 16 bits per sample",
    "in.png -f jpeg --depth 16": (
        "depth is 16, and JPEG holds 8 bits per sample; write PNG or TIFF"
    ),
    "in.png out.jpg --depth 16": (
        "depth is 16, and JPEG holds 8 bits per sample; write PNG or TIFF"
    ),
    # Many files.
    "pictures big --skip-larger 20": f"skip-larger is '20'; {LARGER}",
    "pictures big --skip-larger 0x5": f"skip-larger is '0x5'; {LARGER}",
    "pictures big --skip-larger 1920x": f"skip-larger is '1920x'; {LARGER}",
    "pictures big --shard 5/4": f"shard is '5/4'; {SHARD}",
    "pictures big --shard 0/4": f"shard is '0/4'; {SHARD}",
    "pictures big --shard third": f"shard is 'third'; {SHARD}",
    "pictures big --name x": f"name 'x' {TEMPLATE}",
    "pictures big --name '{stem}'": f"name '{{stem}}' {TEMPLATE}",
    "pictures big --name '{nam}{stem}{ext}'": (
        "name '{nam}{stem}{ext}': field {nam} is unknown; "
        "use {stem}, {ext}, {scale}, {model}, {noise}, {parent}"
    ),
    "pictures big --name '../{stem}{ext}'": (
        "name '../{stem}{ext}' holds '/'; it must be a file name that is allowed everywhere, "
        "without directories"
    ),
    "pictures big --include": "option --include needs a value: --include PATTERN",
    "pictures big --resume --overwrite": (
        "--resume and --overwrite exclude each other: --resume keeps results that are newer than "
        "their input, --overwrite replaces all"
    ),
    "pictures big --watch --overwrite": (
        "--watch and --overwrite exclude each other: --watch keeps results that are newer than "
        "their input, and runs on this machine"
    ),
    "pictures big --watch --cluster local": (
        "--watch and --cluster exclude each other: --watch keeps results that are newer than "
        "their input, and runs on this machine"
    ),
    "- --watch": "--watch needs files, and a pipe (-) is none; leave one out",
    # Running.
    "in.png --memory lots": f"memory is 'lots'; {MEMORY}",
    "in.png --memory -1": f"memory is '-1'; {MEMORY}",
    "in.png --memory 0": "memory is '0'; it must be above 0, such as 4G",
    "in.png --report ''": "report is ''; it must be the name of a file or folder",
    "in.png --progress barr": f"progress 'barr' is unknown (did you mean bar?); {PROGRESS}",
    "in.png --progress fast": f"progress 'fast' is unknown; {PROGRESS}",
    "in.png --quiet -v": "--quiet and --verbose exclude each other; give one",
    # Inputs and output.
    "": "there is no input; for example: waifu2x in.png out.png (see waifu2x --help)",
    "-s 3": "there is no input; for example: waifu2x in.png out.png (see waifu2x --help)",
    "-o out.png": "there is no input; for example: waifu2x in.png out.png (see waifu2x --help)",
    "-i": "option -i needs a value: -i PATH",
    "in.png -o": "option -o needs a value: -o PATH",
    "in.png -o a.png -o b.png": (
        "there are two outputs, a.png and b.png; give -o once, a folder for several results"
    ),
    "'' out.png": "INPUT is ''; it must be the name of a file or folder",
    "-i ''": "input is ''; it must be the name of a file or folder",
    "in.png -o ''": "output is ''; it must be the name of a file or folder",
    # Pipes.
    "- -r": "-r needs files, and a pipe (-) is none; leave one out",
    "- --include '*.png'": "--include needs files, and a pipe (-) is none; leave one out",
    "- --exclude '*.png'": "--exclude needs files, and a pipe (-) is none; leave one out",
    "- --name '{stem}{ext}'": "--name needs files, and a pipe (-) is none; leave one out",
    "- --resume": "--resume needs files, and a pipe (-) is none; leave one out",
    "- out.png --resume": "--resume needs files, and a pipe (-) is none; leave one out",
    "- --shard 1/2": "--shard needs files, and a pipe (-) is none; leave one out",
    "- --cluster local": "--cluster needs files, and a pipe (-) is none; leave one out",
    "in.png - --shard 1/2": "--shard needs files, and a pipe (-) is none; leave one out",
    "in.png more.png -": (
        "a pipe (-) takes one picture, and there are 2 inputs; name files and a folder"
    ),
    "- in.png out": (
        "a pipe (-) takes one picture, and there are 2 inputs; name files and a folder"
    ),
    "- --progress json": (
        "--progress json writes to standard output, and so does OUTPUT -; name a file"
    ),
    "in.png - --progress json": (
        "--progress json writes to standard output, and so does OUTPUT -; name a file"
    ),
    # Misspelled options, and those of other programs.
    "in.png --scal 3": "option --scal does not exist; did you mean --scale or --shard or --start?",
    "in.png -scale 3": "option -scale does not exist; did you mean --scale?",
    "in.png -tta": "option -tta does not exist; did you mean --tta?",
    "in.png --nois 1": "option --nois does not exist; did you mean --noise?",
    "in.png --xyzzy": "option --xyzzy does not exist; see waifu2x --help",
    "in.png -z": "option -z does not exist; see waifu2x --help",
    "-i in.png -o out.png -g 0": "option -g does not exist; -d vulkan:0 or cuda:0 selects a GPU",
    "-i in.png -o out.png -j 1:2:2": "option -j does not exist; --threads sets the threads",
    "-i in.png -o out.png -m models-cunet": (
        f"model 'models-cunet' is unknown (did you mean cunet?); allowed are {MODELS}"
    ),
    "-i in.png -m /opt/models-upconv_7_anime_style_art_rgb": (
        "model '/opt/models-upconv_7_anime_style_art_rgb' is unknown (did you mean upconv_7?); "
        f"allowed are {MODELS}"
    ),
    "-i in.png --scale_ratio 2": "option --scale_ratio does not exist; did you mean --scale?",
    "-i in.png --noise_level 1": "option --noise_level does not exist; did you mean --noise?",
    "-i in.png --noise-level 1": "option --noise-level does not exist; did you mean --noise?",
    "-i in.png --method scale": (
        "option --method does not exist; -s sets the scale and -n the noise level"
    ),
    "-i in.png --gpu 0": "option --gpu does not exist; -d vulkan:0 or cuda:0 selects a GPU",
    "-i in.png --style photo": "option --style does not exist; did you mean --model?",
    "in.png --report -": (
        "--report takes the name of a file; --progress json prints to standard output"
    ),
    # Subcommands.
    "model": "model is neither a file nor a command; did you mean waifu2x models?",
    "model --json": "model is neither a file nor a command; did you mean waifu2x models?",
    "exprot a.onnx": "exprot is neither a file nor a command; did you mean waifu2x export?",
    "help": "help is neither a file nor a command; did you mean waifu2x --help?",
    "version": "version is neither a file nor a command; did you mean waifu2x --version?",
    "models x": "argument 'x' is one too many for waifu2x models",
    "completion": "SHELL is missing; see waifu2x completion --help",
    "completion tcsh": "SHELL 'tcsh' is unknown; allowed are bash, zsh, fish",
    "completion bsh": "SHELL 'bsh' is unknown (did you mean bash?); allowed are bash, zsh, fish",
    "doctor x": "argument 'x' is one too many for waifu2x doctor",
    "models --jsn": "option --jsn does not exist; did you mean --json?",
    "info": "MODEL is missing; see waifu2x info --help",
    "info ''": "model '' is unknown; allowed are " + MODELS,
    "info cunett": f"model 'cunett' is unknown (did you mean cunet?); allowed are {MODELS}",
    "info cunet upconv_7": "argument 'upconv_7' is one too many for waifu2x info",
    "info cunet -s x": "scale is 'x'; it must be 1, 2, 3 or 4, as far as the model has it",
    "info cunet -s 3": f"model cunet has no such network; choose among {INFO_NETWORKS}",
    "info cunet -s 1 -n none": f"model cunet has no such network; choose among {INFO_NETWORKS}",
    "info cunet -n 4": "noise '4' is unknown; allowed are none, conservative, 0, 1, 2, 3",
    "compare": (
        "there is no picture; for example: waifu2x compare in.png -m cunet -m bicubic -o sheet.png"
    ),
    "compare in.png -m cunet -m bicubic": "there is no output; give -o FILE",
    "compare in.png -m cunet -m bicubic -o a.jpg": (
        "output is a.jpg; the name of a sheet must end in .png"
    ),
    "compare in.png -o a.png": (
        "model is given 0 times; give at least two to compare, such as cunet and bicubic"
    ),
    "compare in.png -m cunet -o a.png": (
        "model is given 1 times; give at least two to compare, such as cunet and bicubic"
    ),
    "compare in.png -m cunet -m cunet -o a.png": (
        "model cunet is given twice; give each once, and rename one of two files of the same name"
    ),
    "compare in.png -m cunet -m bicubc -o a.png": (
        f"model 'bicubc' is unknown (did you mean bicubic?); allowed are {MODELS}, bicubic"
    ),
    "compare in.png -m cunet -m bicubic -o a.png --crop 1,2,3": (
        "crop is '1,2,3'; it must be x,y,width,height in pixels of the result"
    ),
    "compare in.png -m cunet -m bicubic -o a.png --crop 1,2,0,3": (
        "crop is 1,2,0,3; it must be x,y,width,height in pixels of the result"
    ),
    "compare in.png -m cunet -m bicubic -o a.png --crops 0": (
        "crops is 0; it must be a whole number from 1 to 20"
    ),
    "compare in.png -m cunet -m bicubic -o a.png --crops x": (
        "crops is 'x'; it must be a whole number from 1 to 20, for example 3"
    ),
    "compare in.png -m cunet -m bicubic -o a.png --side 4": (
        "side is 4; it must be a whole number of pixels from 16 to 2048"
    ),
    "compare in.png -m cunet -m bicubic -o a.png -s 0": f"scale is 0; {SCALE}",
    "compare '' -m cunet": "IN is ''; it must be the name of a file or folder",
    "compre a.png": "compre is neither a file nor a command; did you mean waifu2x compare?",
    "rate": "FOLDER is missing; see waifu2x rate --help",
    "rate ''": "FOLDER is ''; it must be the name of a file or folder",
    "rate pictures": (
        "model is given 0 times; give at least two to compare, such as cunet and bicubic"
    ),
    "rate pictures -m cunet -m cunet": (
        "model cunet is given twice; give each once, and rename one of two files of the same name"
    ),
    "rate pictures -m cunet -m bicubic --port 70000": (
        "port is 70000; it must be a whole number from 0 to 65535"
    ),
    "rate pictures -m cunet -m bicubic --port x": (
        "port is 'x'; it must be a whole number from 0 to 65535, for example 8761"
    ),
    "rate pictures -m cunet -m bicubic --side 4": (
        "side is 4; it must be a whole number of pixels from 16 to 2048"
    ),
    "rate pictures -m cunet -m bicubic -s 0": f"scale is 0; {SCALE}",
    "rate pictures -m cunet -m bicubic --plot a.png": (
        "--plot draws the ranking of --report; give both"
    ),
    "rate pictures --report --plot a.jpg": ("plot is a.jpg; the name of a plot must end in .png"),
    "export": "OUT is missing; see waifu2x export --help",
    "export a.onnx b.onnx": "argument 'b.onnx' is one too many for waifu2x export",
    "train": "CONFIG... is missing; see waifu2x train --help",
    "train ''": "CONFIG is ''; it must be the name of a file or folder",
    "train a.toml b.toml -o run": ("-o names the folder of one training; leave it out for several"),
    "train a.toml -o": "option -o needs a value: -o FOLDER",
    "train a.toml -o ''": "output is ''; it must be the name of a file or folder",
    "train a.toml -d": "option -d needs a value: -d DEVICE",
    "train a.toml -d gpu": "device is 'gpu'; it must be cpu, cuda, cuda:1, mps or xpu",
    "train a.toml -d cuda:x": "device is 'cuda:x'; it must be cpu, cuda, cuda:1, mps or xpu",
    "train a.toml -d cuda:0,cuda:1": (
        "device is 'cuda:0,cuda:1'; it must be cpu, cuda, cuda:1, mps or xpu"
    ),
    "train a": "a has no suffix; give -o FOLDER",
    "train a.toml --epochs 5": "option --epochs does not exist; see waifu2x train --help",
    "trian a.toml": "trian is neither a file nor a command; did you mean waifu2x train?",
    "merge": (
        "there is no network; for example: waifu2x merge a.pth b.pth -o c.onnx --weights 1,1"
    ),
    "merge a.pth b.pth": "there is no output; give -o FILE",
    "merge a.pth b.pth -o c.onnx": ("there are no weights; for equal ones give --weights 1,1"),
    "merge a.pth b.pth -o c.onnx -w": "option -w needs a value: -w NUMBERS",
    "merge a.pth b.pth -o c.onnx -w x,1": f"weights is 'x,1'; {WEIGHTS}",
    "merge a.pth b.pth -o c.onnx -w 1,": f"weights is '1,'; {WEIGHTS}",
    "merge a.pth b.pth -o c.onnx -w 1,nan": "a weight is nan; weights must be finite",
    "merge a.pth b.pth -o c.onnx -w 1,1e999": "a weight is inf; weights must be finite",
    "merge a.pth b.pth -o c.onnx -w 1,-1": (
        "the sum of the --weights is 0; they are divided by it"
    ),
    "merge a.pth b.pth -o c.onnx -w 1": ("there are 2 networks and 1 --weights; give one for each"),
    "merge a.pth -o c.onnx -w 1": "method linear merges at least 2 networks, and 1 are given",
    "merge a.pth b.pth c.pth -o d.onnx -w 1,1,1 --method slerp": (
        "method slerp merges 2 networks, and 3 are given"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --method tie": (
        "method 'tie' is unknown (did you mean ties?); allowed are linear, slerp, task, ties, dare"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --method task": (
        "method task adds differences from a base; give --base"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --base o.pth": (
        "method linear has no base, and --base is given; leave it out, or choose task, ties or dare"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --density 0.5": (
        "method linear keeps all differences, and --density 0.5 is given; leave it out, or choose "
        "ties or dare"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --method ties --base o.pth --density 0": (
        "density is 0; it must be above 0 and at most 1"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --method ties --base o.pth --density half": (
        "density is 'half'; it must be a number above 0 and at most 1, for example 0.5"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --seed 1": (
        "method linear draws no random numbers, and --seed 1 is given; leave it out, or choose dare"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --method dare --base o.pth --seed -1": (
        "seed is -1; it must be a whole number of at least 0"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --jpeg 60": (
        "--jpeg is for the pictures of --eval; give --eval FOLDER"
    ),
    "merge a.pth b.pth -o c.onnx -w 1,1 --eval in --jpeg 0": (
        "jpeg is 0; it must be a whole number from 1 to 100"
    ),
    "merge a.pth b.pth -o c.pth -w 1,1": (
        "c.pth: the name of an exported network must end in .onnx, .safetensors or .param"
    ),
    "merge '' b.pth -o c.onnx -w 1,1": "A is ''; it must be the name of a file or folder",
    "export ''": "OUT is ''; it must be the name of a file or folder",
    "export a.txt": (
        "a.txt: the name of an exported network must end in .onnx, .safetensors or .param"
    ),
    "export a.param --opset 17": "opset is 17, and only ONNX has one; leave out --opset",
    "export a.param --static 64x96": (
        "--static is 64x96, and only ONNX can fix it; leave out --static"
    ),
    "export a.onnx --scal 2": "option --scal does not exist; did you mean --scale?",
    "export a.onnx -n": "option -n needs a value: -n LEVEL",
    "export a.onnx -n auto": "noise 'auto' is unknown; allowed are none, conservative, 0, 1, 2, 3",
    "export a.onnx -m x": f"model 'x' is unknown; allowed are {MODELS}",
    "export a.onnx -s x": "scale is 'x'; it must be 1, 2, 3 or 4, as far as the model has it",
    "export a.onnx -s 3": f"model cunet has no network for 3x, noise none; use {ALL_NETWORKS}",
    "export a.onnx -s 1": f"model cunet has no network for 1x, noise none; use {ALL_NETWORKS}",
    "export a.onnx --opset x": (
        "opset is 'x'; it must be a whole number from 13 to 21, for example 17"
    ),
    "export a.onnx --opset 5": "opset is 5; it must be 13 to 21",
    "export a.onnx --static 20": (
        "static is '20'; it must be HEIGHTxWIDTH in pixels, for example 720x1280"
    ),
    "export a.onnx --static 33x20": "--static is 33x20; both sides must be multiples of 2 px",
    "convrt a.pth a.onnx": "convrt is neither a file nor a command; did you mean waifu2x convert?",
    "convert": "IN is missing; see waifu2x convert --help",
    "convert a.pth": "OUT is missing; see waifu2x convert --help",
    "convert a.pth b.onnx c.onnx": "argument 'c.onnx' is one too many for waifu2x convert",
    "convert '' a.onnx": "IN is ''; it must be the name of a file or folder",
    "convert a.pth b.pth": (
        "b.pth: the name of an exported network must end in .onnx, .safetensors or .param"
    ),
    "convert a.pth b.onnx --scale 2": ("option --scale does not exist; see waifu2x convert --help"),
    "convert a.pth b.onnx --opset 5": "opset is 5; it must be 13 to 21",
    "convert a.pth b.safetensors --opset 17": (
        "opset is 17, and only ONNX has one; leave out --opset"
    ),
    "convert a.pth b.onnx --static 20": (
        "static is '20'; it must be HEIGHTxWIDTH in pixels, for example 720x1280"
    ),
}


#: The same in a folder with the files of `folder`, and "Error: " and the text.
FILES = {
    "gone.png": (1, "gone.png does not exist"),
    "gone.png out.png": (1, "gone.png does not exist"),
    "in.png -m gone.pth": (1, "cannot read weights gone.pth: No such file or directory"),
    "in.png -m text.png": (
        1,
        "text.png: no weights file; supported are ncnn .param, .pth, .pt, .safetensors, .onnx, "
        "waifu2x .json and Chainer .npz",
    ),
    "in.png -m ./empty": (1, "cannot read weights empty: not a file"),
    "train gone.toml": (1, "gone.toml cannot be read: No such file or directory"),
    "train pictures -o run": (1, "pictures cannot be read: Is a directory"),
    "train text.png": (
        1,
        "text.png is no TOML file: Expected '=' after a key in a key/value pair "
        "(at end of document)",
    ),
    "train wrong.toml": (
        1,
        "wrong.toml: key 'data.crops' is unknown (did you mean data.crop?); allowed are "
        "data.folder, data.count, data.crop, data.batch, data.hard, data.workers",
    ),
    "train net.toml": (
        1,
        "patches/train.npy cannot be read: No such file or directory; make it with python -m "
        "waifu2x.training.data",
    ),
    "rate gone -m cunet -m bicubic": (1, "gone does not exist"),
    "rate in.png -m cunet -m bicubic": (1, "in.png is no folder; give a folder with pictures"),
    "rate empty -m cunet -m bicubic": (1, "directory empty holds no picture"),
    "rate pictures --report": (
        1,
        "votes pictures/votes.jsonl cannot be read: No such file or directory",
    ),
    "rate pictures --report --votes text.png": (
        1,
        "votes text.png is a file of another kind; choose another file",
    ),
    "in.png out --watch": (2, "--watch takes folders, and in.png is none"),
    "gone out --watch": (2, "--watch takes folders, and gone is none"),
    "compare gone.png -m cunet -m bicubic -o a.png": (1, "gone.png does not exist"),
    "compare empty -m cunet -m bicubic -o a.png": (1, "directory empty holds no picture"),
    "compare in.png -m cunet -m bicubic -o gone/a.png": (
        1,
        "gone/a.png: directory gone does not exist; create it first",
    ),
    "compare in.png -m cunet -m bicubic -o a.png --truth pictures": (
        1,
        "folder pictures holds no original of in.png",
    ),
    "compare in.png text.png -m cunet -m bicubic -o a.png --truth in.png": (
        1,
        "there are 2 pictures, and in.png is no folder; give a folder with originals of the same "
        "names",
    ),
    "compare in.png text.png -m cunet -m bicubic -o a.png --truth gone": (
        1,
        "gone does not exist",
    ),
    "info ./gone.bin": (1, "cannot read weights gone.bin: No such file or directory"),
    "export x.onnx -m gone.pth": (1, "cannot read weights gone.pth: No such file or directory"),
    "-i gone.png -o out.png": (1, "gone.png does not exist"),
    "gone out -r": (1, "gone does not exist"),
    "gone gone -r": (1, "gone does not exist"),
    "https://example.com/a.png out.png": (
        1,
        "https://example.com/a.png is an address on the network; download it first",
    ),
    "text.png out.png": (
        1,
        "text.png is not a picture in a supported format; save it as PNG "
        "(JPEG, WebP, AVIF, GIF, BMP, TIFF and some more are read too)",
    ),
    "empty out": (1, "directory empty holds no picture"),
    "'*.pcx' out": (1, "pattern *.pcx matches no picture"),
    "@gone.txt out": (
        1,
        "list @gone.txt cannot be read: No such file or directory; "
        "a file of this name is given as ./@gone.txt",
    ),
    # OUTPUT.
    "in.png gone/out.png": (1, "gone/out.png: directory gone does not exist; create it first"),
    "in.png text.png/out.png": (1, "text.png/out.png: text.png is not a directory"),
    "in.png gone/": (1, "directory gone does not exist; create it first"),
    "in.png gone": (
        1,
        "directory gone does not exist; create it first, or name a file with an extension, "
        "such as gone.png",
    ),
    "in.png out.xyz": (
        2,
        f"out.xyz: extension '.xyz' is unknown; allowed are {EXTENSIONS}, or give --format",
    ),
    "gone.png out.xyz": (
        2,
        f"out.xyz: extension '.xyz' is unknown; allowed are {EXTENSIONS}, or give --format",
    ),
    "in.png out.gif": (
        1,
        "GIF is written for animations only; in.png is one picture; write it as PNG",
    ),
    "in.png -f gif": (
        1,
        "GIF is written for animations only; in.png is one picture; write it as PNG",
    ),
    "in.png out.cbz": (
        1,
        "out.cbz is named as an archive, and in.png is a picture or an animation; "
        "name the result with the extension of its format",
    ),
    "in.png text.png": (
        1,
        "in.png: text.png exists already; skip what is done with --resume, "
        "or replace it with --overwrite",
    ),
    "'[g] gone.png' out.png": (1, "[g] gone.png does not exist"),
    "in.png /dev/null": (
        1,
        "/dev/null is a device or socket, not a file; name a file, or - for a pipe",
    ),
    "'a`tile=4`.png'": (1, r"a\x60tile=4\x60.png does not exist"),
    "in.png out.png --report in.png": (
        1,
        "report in.png exists and is no report; choose another file",
    ),
    "in.png out.png --report out.png": (
        2,
        "report is out.png, which is the name of a result; choose another file",
    ),
    "in.png gone --name '{stem}{ext}'": (
        1,
        "directory gone does not exist; create it first, or name a file with an extension, "
        "such as gone.png",
    ),
    "in.png in.png": (
        1,
        "in.png is the input itself, which is never replaced; choose another name",
    ),
    "in.png ./in.png --overwrite": (
        1,
        "./in.png is the input itself, which is never replaced; choose another name",
    ),
    "in.png out.png -f jpeg": (
        2,
        "out.png and --format jpeg contradict each other; leave the format out, "
        "or name the file out.jpg",
    ),
    "gone.png out.webp -f png": (
        2,
        "out.webp and --format png contradict each other; leave the format out, "
        "or name the file out.png",
    ),
    "- out.png -f jpeg": (
        2,
        "out.png and --format jpeg contradict each other; leave the format out, "
        "or name the file out.jpg",
    ),
    # OUTPUT for many.
    "pictures": (
        2,
        "pictures is a folder; give an output folder as the last argument: waifu2x pictures big",
    ),
    "'*.png'": (
        2,
        "*.png is a pattern; give an output folder as the last argument: waifu2x '*.png' big",
    ),
    "@list.txt": (
        2,
        "@list.txt is a list; give an output folder as the last argument: waifu2x @list.txt big",
    ),
    "-i in.png -i text.png": (2, "there are 2 inputs; give an output folder with -o"),
    "pictures out.png": (
        2,
        "the results of many files go into a folder, and out.png looks like a file; "
        "choose another name, or create it first (mkdir out.png)",
    ),
    "in.png text.png out.png": (
        2,
        "the results of many files go into a folder, and out.png looks like a file; "
        "choose another name, or create it first (mkdir out.png)",
    ),
    "pictures text.png": (
        2,
        "the results of many files go into a folder, and text.png is a file; "
        "give a folder as the last argument",
    ),
    # The machine.
    "in.png --report gone/r.jsonl": (
        1,
        "report gone/r.jsonl cannot be written: No such file or directory; choose another file",
    ),
    "in.png --report empty": (
        1,
        "report empty cannot be written: Is a directory; choose another file",
    ),
    "in.png -s 99999999": (
        1,
        "in.png: 24x20 px at a scale of 1e+08 are more than 2^31 px a side; "
        "choose a smaller --scale",
    ),
    "export gone/a.onnx": (1, "gone/a.onnx: directory gone does not exist; create it first"),
    "merge gone.pth b.pth -o c.onnx -w 1,1": (
        1,
        "cannot read weights gone.pth: No such file or directory",
    ),
    "merge gone.pth b.pth -o gone/c.onnx -w 1,1": (
        1,
        "gone/c.onnx: directory gone does not exist; create it first",
    ),
    "merge gone.pth b.pth -o there.onnx -w 1,1": (
        1,
        "there.onnx exists already; choose another name, or replace it with --overwrite",
    ),
    "merge there.onnx b.pth -o there.onnx -w 1,1 --overwrite": (
        1,
        "there.onnx is the input itself, which is never replaced; choose another name",
    ),
    "merge gone.pth b.pth -o c.onnx -w 1,1 --eval gone": (
        1,
        "folder gone cannot be read: No such file or directory",
    ),
    "merge gone.pth b.pth -o c.onnx -w 1,1 --eval empty": (1, "folder empty holds no picture"),
    "export there.onnx": (
        1,
        "there.onnx exists already; choose another name, or replace it with --overwrite",
    ),
    "convert gone.pth a.onnx": (
        1,
        "cannot read weights gone.pth: No such file or directory",
    ),
    "convert in.png a.onnx": (
        1,
        "in.png: no weights file; supported are ncnn .param, .pth, .pt, .safetensors, .onnx, "
        "waifu2x .json and Chainer .npz",
    ),
    "convert there.onnx there.onnx --overwrite": (
        1,
        "there.onnx is the input itself, which is never replaced; choose another name",
    ),
}


@pytest.fixture(autouse=True)
def process_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs in this process; what it sets is restored."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def check(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str, int, str], None]:
    """Run the command in a folder, which must stay as it is."""
    monkeypatch.chdir(tmp_path)

    def run(args: str, code: int, text: str) -> None:
        before = tree(Path())
        result = CliRunner().invoke(main, shlex.split(args))
        # While a file is processed, the command writes to a copy of the descriptor.
        written = result.stderr + capfd.readouterr().err
        assert (written, result.exit_code) == (f"Error: {text}\n", code)
        assert result.stdout == ""
        assert tree(Path()) == before

    return run


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("args", USAGE)
def test_wrong_usage(check: Callable[[str, int, str], None], args: str) -> None:
    check(args, 2, USAGE[args])


@pytest.mark.parametrize("args", FILES)
def test_what_files_and_the_machine_show(
    check: Callable[[str, int, str], None], folder: Path, args: str
) -> None:
    check(args, *FILES[args])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    art.anime_face(24, 20).save(tmp_path / "in.png")
    for name in ("pictures", "empty"):
        (tmp_path / name).mkdir()
    art.anime_face(12, 10).save(tmp_path / "pictures" / "1.png")
    for name in ("text.png", "there.onnx", "list.txt"):
        (tmp_path / name).write_text("in.png")
    (tmp_path / "net.toml").write_text("threads = 1")
    (tmp_path / "wrong.toml").write_text("[data]\ncrops = 64")
    return tmp_path


# --- the same in a process, and other ends ------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    ["in.png -s two", "in.png -s 0", "", "in.png --scal 3", "export a.txt", "export", "model"],
)
def test_wrong_usage_in_a_process(tmp_path: Path, args: str) -> None:
    text = USAGE[args]
    result = waifu2x(*shlex.split(args), cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"Error: {text}\n")
    assert not [*tmp_path.iterdir()]


def test_memory_that_runs_out_is_one_line(
    check: Callable[[str, int, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("waifu2x.network.export.export_network", fail)
    check("export a.onnx", 1, "out of memory; a smaller --tile or --scale needs less")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_subcommand_without_a_message(tmp_path: Path, number: signal.Signals) -> None:
    script = (
        "import os, signal, time, waifu2x.network.export as export\n"
        f"signal.signal({int(number)}, signal.SIG_DFL)\n"
        "from waifu2x.atomic import write_file\n"
        "from waifu2x.cli import main\n"
        "def interrupted(*args, **options):\n"
        "    def write(file):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        time.sleep(60)\n"
        "    write_file(args[0], write, overwrite=False)\n"
        "export.export_network = interrupted\n"
        "main(['export', 'a.onnx'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_full_standard_output_is_one_line(tmp_path: Path) -> None:
    for args in (["--help"], ["models"], ["models", "--json"], ["--version"]):
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [WAIFU2X, *args], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True
            )
        text = "Error: standard output cannot be written: No space left on device\n"
        assert (result.returncode, result.stderr) == (1, text)


@pytest.mark.parametrize(
    "args",
    [["{long}"], ["in.png", "{long}"], ["in.png", "-o", "{long}"], ["in.png", "{long}/x.png"]],
)
def test_a_name_that_is_too_long_is_named(tmp_path: Path, args: list[str]) -> None:
    art.anime_face(8, 8).save(tmp_path / "in.png")
    long = "n" * 253 + ".png"
    result = subprocess.run(
        [WAIFU2X, *(arg.replace("{long}", long) for arg in args), "-m", "upconv_7"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    name = args[-1].replace("{long}", long)
    text = f"Error: {name} cannot be accessed: File name too long\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", text)
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


def test_a_file_that_is_called_like_a_command(tmp_path: Path) -> None:
    """It is taken with its path, and a misspelled command if there is such a file."""
    art.anime_face(24, 20).save(tmp_path / "models", "png")
    (tmp_path / "models").rename(tmp_path / "model")
    result = waifu2x("model", "out.png", "-m", "upconv_7", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    (tmp_path / "model").rename(tmp_path / "models")
    result = waifu2x("./models", "out2.png", "-m", "upconv_7", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
