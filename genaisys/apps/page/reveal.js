// What appears here is scrolled to, where it is out of sight.
watch("value", () => element.scrollIntoView({ block: "nearest", behavior: "smooth" }));
