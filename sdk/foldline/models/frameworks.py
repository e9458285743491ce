"""The names of frameworks, and which one writes files of which ending."""

from typing import Final


class Framework:
    """Names for `framework`; any other text will do as well."""

    tensorflow = "TensorFlow"
    tensorflowjs = "TensorFlow_js"
    tensorflowlite = "TensorFlow_Lite"
    pytorch = "PyTorch"
    torchscript = "TorchScript"
    caffe = "Caffe"
    caffe2 = "Caffe2"
    onnx = "ONNX"
    keras = "Keras"
    mknet = "MXNet"
    cntk = "CNTK"
    torch = "Torch"
    darknet = "Darknet"
    paddlepaddle = "PaddlePaddle"
    scikitlearn = "ScikitLearn"
    xgboost = "XGBoost"
    lightgbm = "LightGBM"
    parquet = "Parquet"
    megengine = "MegEngine"
    catboost = "CatBoost"
    tensorrt = "TensorRT"
    openvino = "OpenVINO"


# The first that fits counts: longer endings stand before shorter ones.
_ENDINGS: Final = {
    "predict_net.pb": Framework.caffe2,
    "-symbol.json": Framework.mknet,
    "model.json": Framework.tensorflowjs,
    "__model__": Framework.paddlepaddle,
    ".pb": Framework.tensorflow,
    ".pbtxt": Framework.tensorflow,
    ".meta": Framework.tensorflow,
    ".tflite": Framework.tensorflowlite,
    ".pth": Framework.pytorch,
    ".pt": Framework.pytorch,
    ".caffemodel": Framework.caffe,
    ".prototxt": Framework.caffe,
    ".onnx": Framework.onnx,
    ".h5": Framework.keras,
    ".hdf5": Framework.keras,
    ".keras": Framework.keras,
    ".model": Framework.mknet,
    ".cntk": Framework.cntk,
    ".t7": Framework.torch,
    ".cfg": Framework.darknet,
    ".pkl": Framework.scikitlearn,
    ".joblib": Framework.scikitlearn,
    ".parquet": Framework.parquet,
    ".cbm": Framework.catboost,
    ".plan": Framework.tensorrt,
}


def framework_of(filename: str) -> str:
    """The framework that most likely wrote a file of this name; "" when its ending tells nothing."""
    name = filename.lower()
    return next((framework for ending, framework in _ENDINGS.items() if name.endswith(ending)), "")
