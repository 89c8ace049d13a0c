impl Users {
    async fn load(&self, id: u64) -> User {
        #[allow(unused_imports)]
        use ::cachetier::attribute::probes::*;
        #[allow(clippy::all, clippy::pedantic)]
        let __shape = (&&(&&&&::cachetier::attribute::Probe::<User>::new()).shape())
            .checked();
        #[allow(clippy::all, clippy::pedantic)]
        let (__cache, __key) = {
            let __cache = ::cachetier::attribute::installed();
            fn __here() {}
            static __NAME: ::std::sync::LazyLock<::cachetier::attribute::Name> = ::std::sync::LazyLock::new(||
            ::cachetier::attribute::Name::of(&__here, 0usize, "load"));
            let mut __key = ::cachetier::KeyText::new();
            __key.literal(__NAME.text());
            __NAME.of_place(&mut __key, &|| ());
            __key.literal(":");
            __key.part(&self);
            __key.literal(":");
            __key.part(&id);
            if let ::std::option::Option::Some(__hit) = __shape.hit(&__cache, &__key) {
                return __hit;
            }
            (__cache.into_owned(), ::std::string::String::from(__key))
        };
        #[allow(clippy::all, clippy::pedantic)]
        let __rules = ::cachetier::attribute::rules(POLICY, ::std::vec![]);
        #[allow(clippy::all, clippy::pedantic)]
        let __sharing = (&&&::cachetier::attribute::ErrorProbe::of(&__shape)).sharing();
        __shape
            .refresh(
                __cache,
                __key,
                __rules,
                __sharing,
                move || {
                    let __self = ::cachetier::attribute::kept(self);
                    async move {
                        #[allow(unused_variables, unused_mut)]
                        let __self = __self.lent();
                        async move {
                            if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<
                                User,
                            > {
                                return __returned;
                            }
                            #[allow(
                                clippy::let_unit_value,
                                clippy::diverging_sub_expression
                            )]
                            let __returned: User = {
                                info!(__self.name, "{}", self::text());
                                __self.db.fetch(async { __self.name() }.await, id).await
                            };
                            #[allow(unreachable_code)] return __returned;
                        }
                            .await
                    }
                },
            )
            .await
    }
}
