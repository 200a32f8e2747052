#include "calib/fake_quant.h"

#include <ATen/Parallel.h>

#include "format/value_grid.h"
#include "kernels/fake_quant.h"

namespace lowbit {
namespace {

constexpr std::int64_t kGrain = 64;  // groups a thread takes at least

// The straight-through estimator around whatever computes the quantized values.
class StraightThrough : public torch::autograd::Function<StraightThrough> {
 public:
  static Tensor forward(torch::autograd::AutogradContext*, const Tensor& x,
                        const Tensor& quantized) {
    (void)x;
    return quantized.view_as(quantized);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 torch::autograd::variable_list upstream) {
    return {upstream[0], Tensor()};
  }
};

std::int64_t group_of(const WeightScheme& scheme, std::int64_t in) {
  return scheme.group_size == 0 ? in : scheme.group_size;
}

std::int64_t group_of(const ActivationScheme& scheme, std::int64_t in) {
  return scheme.whole_token() || scheme.group_size == 0 ? in : scheme.group_size;
}

bool kernels_apply(const Tensor& tensor) {
  return tensor.is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous();
}

// Those of the grid nearest to x.
Tensor nearest_values(const ValueGrid& grid, const Tensor& x) {
  const auto on_device = [&](std::span<const float> numbers) {
    return at::tensor(at::ArrayRef<float>(numbers.data(), numbers.size())).to(x.options());
  };
  return on_device(grid.values()).index({at::bucketize(x, on_device(grid.boundaries()))});
}

// input_scale (format/value_grid.h) of each group, by its largest magnitude.
Tensor input_scales(const ValueFormat& format, const Tensor& largest, double global_scale) {
  Tensor scale = largest / format.grid().largest();
  if (format.scale_type == DType::f8_e4m3) {
    scale = nearest_values(e4m3_grid(), scale * global_scale) / global_scale;
  } else if (format.scale_type == DType::u8) {
    const auto [mantissa, exponent] = at::frexp(largest / 4);  // 0.5 <= mantissa < 1
    scale = at::ldexp(
        at::where(mantissa.ge(0.875), at::ones_like(mantissa), at::full_like(mantissa, 0.5)),
        exponent);
  }
  return scale + largest * 0;  // NaN where that is not finite
}

// [out, in] as [out, groups, group].
Tensor by_group(const Tensor& values, const GroupParameters& parameters) {
  return values.view({values.size(0), parameters.scale.size(1), -1});
}

bool records_gradient(const Tensor& x) { return at::GradMode::is_enabled() && x.requires_grad(); }

struct Codes {
  Tensor steps, rounded, code, zero, scale;  // [out, groups, group] and [out, groups, 1]
};

Codes code_weight(const Tensor& weight, const GroupParameters& parameters,
                  const WeightScheme& scheme) {
  CHECK(scheme.format == WeightFormat::integer);
  const double top = (1 << scheme.bits) - 1;
  const std::int64_t group = group_of(scheme, weight.size(1));
  Codes codes;
  codes.scale = parameters.scale.unsqueeze(2);
  codes.zero = straight_round(parameters.zero.unsqueeze(2)).clamp(0, top);
  codes.steps = weight.view({weight.size(0), -1, group}) / codes.scale;
  codes.rounded = straight_round(codes.steps);
  codes.code = (codes.rounded + codes.zero).clamp(0, top);
  return codes;
}

}  // namespace

Tensor straight_round(const Tensor& x) {
  const Tensor rounded = x.detach().round();
  return records_gradient(x) ? StraightThrough::apply(x, rounded) : rounded;
}

Tensor fake_quant_weight_reference(const Tensor& weight, const GroupParameters& parameters,
                                   const WeightScheme& scheme) {
  if (const ValueGrid* grid = value_grid(scheme.format)) {
    const Tensor scale = parameters.scale.unsqueeze(2);
    return (nearest_values(*grid, by_group(weight, parameters) / scale) * scale).view_as(weight);
  }
  const Codes c = code_weight(weight, parameters, scheme);
  return ((c.code - c.zero) * c.scale).view_as(weight);
}

FakeQuantGradient fake_quant_weight_backward_reference(const Tensor& weight,
                                                       const GroupParameters& parameters,
                                                       const WeightScheme& scheme,
                                                       const Tensor& upstream) {
  const Codes c = code_weight(weight, parameters, scheme);
  const Tensor g = upstream.view_as(c.code);
  const Tensor clipped = c.code.ne(c.rounded + c.zero);
  const Tensor by_scale = at::where(clipped, c.code - c.zero, c.rounded - c.steps);
  return {.scale = (g * by_scale).sum(2),
          .zero = -parameters.scale * (g * clipped.to(g.scalar_type())).sum(2),
          .weight = at::where(clipped, at::zeros_like(g), g).view_as(weight)};
}

Tensor fake_quant_activation_reference(const Tensor& x, const ActivationScheme& scheme) {
  const double top = (1 << scheme.bits) - 1;
  const double middle = 1 << (scheme.bits - 1);
  const Tensor groups = x.view({x.size(0), -1, group_of(scheme, x.size(1))});
  if (const ValueFormat* values = value_format(scheme.format)) {
    const Tensor s = input_scales(*values, groups.abs().amax(2, true),
                                  scheme.stores_scale() ? scheme.scale : 1.0);
    const Tensor quantized = nearest_values(values->grid(), groups / s) * s;
    return at::where(s.lt(0x1p-126), at::zeros_like(quantized), quantized).view_as(x);
  }
  const Tensor low = groups.amin(2, true);
  const Tensor high = groups.amax(2, true);
  Tensor scale;
  Tensor zero;
  if (scheme.is_static() && scheme.scale > 0) {
    scale = at::full_like(low, scheme.scale);
    zero = at::full_like(low, middle);
  } else if (scheme.symmetric) {
    scale = (scheme.clip * at::maximum(high, -low) / (middle - 0.5)).clamp(1e-5, 1e4);
    zero = at::full_like(scale, middle);
  } else {
    scale = (scheme.clip * (high - low) / top).clamp(1e-5, 1e4);
    zero = straight_round((-(scheme.clip * low) / scale).clamp(-1e4, 1e4));
  }
  const Tensor code = (straight_round(groups / scale) + zero).clamp(0, top);
  return ((code - zero) * scale).view_as(x);
}

GroupParameters freeze_codes(const Tensor& weight, const GroupParameters& parameters,
                             const WeightScheme& scheme) {
  const Codes c = code_weight(weight, parameters, scheme);
  return {.scale = parameters.scale.clone(),
          .zero = c.zero.squeeze(2),
          .centered = (c.code - c.zero).view_as(weight)};
}

Tensor fake_quant_weight(const Tensor& weight, const GroupParameters& parameters,
                         const WeightScheme& scheme) {
  if (parameters.centered.defined()) {
    return (by_group(parameters.centered, parameters) * parameters.scale.unsqueeze(2))
        .view_as(weight);
  }
  if (!kernels_apply(weight)) return fake_quant_weight_reference(weight, parameters, scheme);
  const Tensor scale = parameters.scale.contiguous();
  const Tensor zero = parameters.zero.contiguous();
  Tensor out = at::empty_like(weight);
  const FakeQuantGroups how{.group_size = group_of(scheme, weight.size(1)),
                            .bits = scheme.bits,
                            .values = value_grid(scheme.format)};
  at::parallel_for(0, scale.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    fake_quant_weight(how, begin, end, weight.data_ptr<float>(), scale.data_ptr<float>(),
                      zero.data_ptr<float>(), out.data_ptr<float>());
  });
  return out;
}

FakeQuantGradient fake_quant_weight_backward(const Tensor& weight,
                                             const GroupParameters& parameters,
                                             const WeightScheme& scheme, const Tensor& upstream) {
  const Tensor g = upstream.to(weight.scalar_type()).contiguous();
  if (parameters.centered.defined()) {
    return {.scale = (by_group(g, parameters) * by_group(parameters.centered, parameters)).sum(2),
            .zero = at::zeros_like(parameters.zero),
            .weight = {},
            .codes = (by_group(g, parameters) * parameters.scale.unsqueeze(2)).view_as(g)};
  }
  if (!kernels_apply(weight)) {
    return fake_quant_weight_backward_reference(weight, parameters, scheme, g);
  }
  const Tensor scale = parameters.scale.contiguous();
  const Tensor zero = parameters.zero.contiguous();
  FakeQuantGradient gradient{.scale = at::empty_like(scale),
                             .zero = at::empty_like(zero),
                             .weight = g.is_same(upstream) ? g.clone() : g};
  const FakeQuantGroups how{.group_size = group_of(scheme, weight.size(1)), .bits = scheme.bits};
  at::parallel_for(0, scale.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    fake_quant_weight_backward(how, begin, end, weight.data_ptr<float>(), scale.data_ptr<float>(),
                               zero.data_ptr<float>(), gradient.weight.data_ptr<float>(),
                               gradient.scale.data_ptr<float>(), gradient.zero.data_ptr<float>());
  });
  return gradient;
}

Tensor fake_quant_activation(const Tensor& x, const ActivationScheme& scheme) {
  const Tensor values = x.detach().contiguous();
  Tensor out;
  if (kernels_apply(values)) {
    out = at::empty_like(values);
    const std::int64_t group = group_of(scheme, x.size(1));
    at::parallel_for(0, values.numel() / group, kGrain, [&](std::int64_t begin, std::int64_t end) {
      fake_quant_activation(scheme, group, begin, end, values.data_ptr<float>(),
                            out.data_ptr<float>());
    });
  } else {
    out = fake_quant_activation_reference(values, scheme);
  }
  if (!records_gradient(x)) return out;
  return StraightThrough::apply(x, out);
}

}  // namespace lowbit
